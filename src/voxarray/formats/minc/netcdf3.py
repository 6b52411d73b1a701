"""The header of a classic netCDF file: which variables there are, and where their numbers stand.

Format: https://docs.unidata.ucar.edu/netcdf-c/current/file_format_specifications.html. All numbers
are big-endian, and everything is padded to four bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxarray.core.errors import FormatError, TruncatedError, UnsupportedError

MAGIC = b"CDF"

_DIMENSIONS, _VARIABLES, _ATTRIBUTES = 10, 11, 12

_TYPES = {1: ">i1", 2: "S1", 3: ">i2", 4: ">i4", 5: ">f4", 6: ">f8"}

_MOST = 10_000  # names of anything in a file; more is no header


@dataclass(frozen=True)
class Variable:
    """An array in a netCDF file.

    Attributes:
        dimensions: Names of its axes, the slowest first.
        shape: Their sizes.
        dtype: Of a number.
        offset: Bytes before the first one.
        attributes: Numbers, arrays or bytes, by name.
    """

    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    attributes: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """Bytes of all its numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def parse(start: bytes) -> dict[str, Variable]:
    """Variables by name.

    Args:
        start: The beginning of the file, with all of its header.

    Raises:
        FormatError: ``NOT_NETCDF``, ``BAD_HEADER``.
        TruncatedError: The header is longer than ``start``.
        UnsupportedError: Variables lie in stripes, one record of each after another.
    """
    if start[:3] != MAGIC or start[3:4] not in (b"\x01", b"\x02"):
        raise FormatError(
            f"a netCDF file starts with CDF and 1 or 2, but this one with {start[:4]!r}: it has "
            "another format or is damaged; check its suffix, or copy it again",
            code="NOT_NETCDF",
        )
    return _Cursor(start).variables()


class _Cursor:
    """Reads a header from front to back."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 4
        self._wide = data[3] == 2

    def variables(self) -> dict[str, Variable]:
        records = self._integer()
        dimensions = [(self._name(), self._integer()) for _ in range(self._count(_DIMENSIONS))]
        self._attributes()
        variables = {
            self._name(): self._variable(dimensions) for _ in range(self._count(_VARIABLES))
        }
        striped = [variable for variable in variables.values() if 0 in variable.shape[:1]]
        if len(striped) > 1:
            raise UnsupportedError(
                "the file has several variables without a fixed length, whose records alternate: "
                "convert it to MINC 2",
                code="UNSUPPORTED_DIMS",
            )
        return {
            name: Variable(v.dimensions, (records, *v.shape[1:]), v.dtype, v.offset, v.attributes)
            if v in striped
            else v
            for name, v in variables.items()
        }

    def _variable(self, dimensions: list[tuple[str, int]]) -> Variable:
        ids = [self._integer() for _ in range(self._limited())]
        if any(number >= len(dimensions) for number in ids):
            raise FormatError(
                "a variable has an axis that the header does not list: the file is damaged, copy "
                "or download it again",
                code="BAD_HEADER",
            )
        attributes = self._attributes()
        dtype = self._type()
        self._integer()  # its size in bytes, which follows from the rest
        offset = int.from_bytes(self._take(8 if self._wide else 4), "big", signed=True)
        if offset < 0:
            raise FormatError(
                f"a variable begins at byte {offset}: the file is damaged, copy or download it "
                "again",
                code="BAD_OFFSET",
            )
        names, sizes = zip(*(dimensions[n] for n in ids), strict=True) if ids else ((), ())
        return Variable(names, sizes, dtype, offset, attributes)

    def _attributes(self) -> dict[str, Any]:
        return {self._name(): self._value() for _ in range(self._count(_ATTRIBUTES))}

    def _value(self) -> Any:
        dtype, count = self._type(), self._integer()
        data = self._padded(count * dtype.itemsize)
        if dtype.kind == "S":
            return data.rstrip(b"\x00")
        values = np.frombuffer(data, dtype)
        return values[0] if count == 1 else values

    def _type(self) -> np.dtype:
        code = self._integer()
        if code not in _TYPES:
            raise FormatError(
                f"{code} is not a type of netCDF: the file is damaged, copy or download it again",
                code="BAD_HEADER",
            )
        return np.dtype(_TYPES[code])

    def _name(self) -> str:
        return self._padded(self._integer()).decode("utf-8", "replace")

    def _count(self, tag: int) -> int:
        """Length of a list, whose tag is 0 where there is none."""
        kind, count = self._integer(), self._limited()
        if kind != tag and (kind, count) != (0, 0):
            raise FormatError(
                f"a list begins with the tag {kind} where {tag} is expected: the file is damaged, "
                "copy or download it again",
                code="BAD_HEADER",
            )
        return count

    def _limited(self) -> int:
        count = self._integer()
        if count > _MOST:
            raise FormatError(
                f"a list of {count} items is too long for a header: the file is damaged, copy or "
                "download it again",
                code="BAD_HEADER",
            )
        return count

    def _integer(self) -> int:
        value = int.from_bytes(self._take(4), "big", signed=True)
        if value < 0:
            raise FormatError(
                f"a length is {value}: the file is damaged, copy or download it again",
                code="BAD_HEADER",
            )
        return value

    def _padded(self, count: int) -> bytes:
        return self._take(count + -count % 4)[:count]

    def _take(self, count: int) -> bytes:
        data = self._data[self._position : self._position + count]
        if len(data) < count:
            raise TruncatedError(
                "the netCDF header ends before its last list: copy or download the file again"
            )
        self._position += count
        return data
