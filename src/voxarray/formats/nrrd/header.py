"""The text of an NRRD header: fields by name, each with a meaning or refused.

Format: https://teem.sourceforge.net/nrrd/format.html. A line is a comment (``#``), a key of the
user's (``key:=value``) or a field (``field: value``); an empty line ends the header, and in an
attached header the voxels follow it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from voxarray.core.errors import FormatError, TruncatedError, UnsupportedError
from voxarray.formats._voxels.header_text import (
    LARGEST_TEXT,
    checked_sizes,
    lines_of,
    real_numbers,
    text_of,
    whole_numbers,
)

_MAGIC = re.compile(rb"NRRD000[1-5]")

_MOST_AXES = 16  # NRRD_DIM_MAX of teem

_FIELDS = {
    "axismaxs", "axismins", "blocksize", "byteskip", "centerings", "content", "datafile",
    "dimension", "encoding", "endian", "kinds", "labels", "lineskip", "max", "measurementframe",
    "min", "number", "oldmax", "oldmin", "sampleunits", "sizes", "space", "spacedimension",
    "spacedirections", "spaceorigin", "spaceunits", "spacings", "thicknesses", "type", "units",
}  # fmt: skip
_SYNONYMS = {"centers": "centerings"}

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int",
           "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}  # fmt: skip
_DTYPES = {name: np.dtype(code) for code, names in _TYPES.items() for name in names}

NUMBERED_FILES = re.compile(r"%\d*d")
"""What a name holds that stands for the names of several files, as teem reads it."""

TIME_STEP = "time step in seconds"
"""A key of voxarray's own, which other readers keep or leave out: components count time."""

ENCODINGS = {
    "raw": "raw",
    "txt": "text",
    "text": "text",
    "ascii": "text",
    "hex": "hex",
    "gz": "gzip",
    "gzip": "gzip",
    "bz2": "bzip2",
    "bzip2": "bzip2",
}
"""One name for each encoding, by all the names that stand in files."""


@dataclass(frozen=True)
class NrrdHeader:
    """Fields of an NRRD header.

    Attributes:
        fields: Values by name, in lower case and without white space (``"spaceorigin"``).
        end: Bytes of the header, where attached voxels start.
    """

    fields: dict[str, str]
    end: int

    @classmethod
    def parse(cls, start: bytes) -> NrrdHeader:
        """Header at the start of a file.

        Raises:
            FormatError: ``NOT_NRRD``, or ``BAD_HEADER`` for a line that means nothing, an unknown
                field, or one that is given twice.
            TruncatedError: A header without sizes and type.
        """
        if not _MAGIC.match(start):
            raise FormatError(
                f"an NRRD file starts with NRRD0001 to NRRD0005, but this one with {start[:8]!r}: "
                "it has another format or is damaged; check its suffix, or copy it again",
                code="NOT_NRRD",
            )
        fields: dict[str, str] = {}
        end = 0
        for number, (line, end) in enumerate(lines_of(start)):  # noqa: B007  # end is returned
            text = text_of(line).strip("\r\n")
            if not text:
                break
            if fields.get("datafile", "").split()[:1] == ["LIST"]:
                break  # what follows are the names of files
            if number > 0:
                _add(fields, text)
        else:
            if len(start) >= LARGEST_TEXT:
                raise FormatError(
                    "there is no empty line, which ends an NRRD header, in the first "
                    f"{LARGEST_TEXT} bytes: the file is damaged or has another format",
                    code="BAD_HEADER",
                )
        for field in ("type", "dimension", "sizes", "encoding"):
            if field not in fields:
                raise TruncatedError(
                    f"the header has no field {field!r}: it was cut short, copy or download the "
                    "file again"
                )
        return cls(fields, end)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the axes, the one that runs fastest first.

        Raises:
            FormatError: ``BAD_DIMS``.
        """
        sizes = checked_sizes(whole_numbers(self.fields["sizes"], "sizes"), _MOST_AXES)
        dimension = whole_numbers(self.fields["dimension"], "dimension")
        if dimension != [len(sizes)]:
            raise FormatError(
                f"dimension is {self.fields['dimension']!r} and there are {len(sizes)} sizes: "
                "expected as many sizes as dimensions; repair the header",
                code="BAD_DIMS",
            )
        return sizes

    @property
    def dtype(self) -> np.dtype:
        """Type of a number, in the file's byte order.

        Raises:
            UnsupportedError: ``UNSUPPORTED_DTYPE``.
            FormatError: Which byte comes first is not said (``BAD_HEADER``).
        """
        name = " ".join(self.fields["type"].lower().split())
        if name not in _DTYPES:
            raise UnsupportedError(
                f"voxels of NRRD type {name!r} cannot be read: convert them to numbers of 8 to 64 "
                "bits",
                code="UNSUPPORTED_DTYPE",
            )
        dtype = _DTYPES[name]
        if dtype.itemsize == 1 or self.encoding == "text":
            return dtype
        order = self.fields.get("endian", "").lower()
        if order not in ("little", "big"):
            raise FormatError(
                f"endian is {order!r}: voxels of {dtype.itemsize} bytes need 'little' or 'big'; "
                "repair the header",
                code="BAD_HEADER",
            )
        return dtype.newbyteorder("<" if order == "little" else ">")

    @property
    def encoding(self) -> str:
        """A value of `ENCODINGS`.

        Raises:
            UnsupportedError: ``UNSUPPORTED_ENCODING``.
        """
        name = self.fields["encoding"].lower().strip()
        if name not in ENCODINGS:
            raise UnsupportedError(
                f"encoding {name!r} is unknown: known are {', '.join(ENCODINGS)}; write the file "
                "again with one of them",
                code="UNSUPPORTED_ENCODING",
            )
        return ENCODINGS[name]

    def whole_number(self, field: str, default: int) -> int:
        """A field that holds one whole number."""
        if field not in self.fields:
            return default
        numbers = whole_numbers(self.fields[field], field)
        if len(numbers) != 1:
            raise FormatError(
                f"{field} holds {len(numbers)} numbers: expected one; repair the header",
                code="BAD_HEADER",
            )
        return numbers[0]

    def per_axis(self, field: str) -> list[float] | None:
        """A field with a number for each axis, NaN where there is none; None if it is not given."""
        if field not in self.fields:
            return None
        return self._each(field, real_numbers(self.fields[field], field))

    def words(self, field: str) -> list[str] | None:
        """A field with a word for each axis, in lower case; None if it is not given."""
        if field not in self.fields:
            return None
        return self._each(field, self.fields[field].lower().split())

    def quoted(self, field: str) -> list[str]:
        """A field of words in quotation marks; empty if it is not given."""
        return (
            re.findall(r'"([^"]*)"', self.fields.get(field, ""))
            or self.fields.get(field, "").split()
        )

    def vectors(self, field: str) -> list[list[float] | None] | None:
        """A field of vectors ``(a,b,c)`` or ``none``; None if it is not given."""
        if field not in self.fields:
            return None
        parts = re.findall(r"\([^()]*\)|[^\s()]+", self.fields[field])
        if not parts:
            raise FormatError(
                f"{field} is empty: expected a vector for each axis; repair the header",
                code="BAD_HEADER",
            )
        return [
            None
            if part.lower() == "none"
            else real_numbers(_vector_text(part, field).replace(",", " "), field)
            for part in parts
        ]

    def _each(self, field: str, values: list) -> list:
        if len(values) != len(self.sizes):
            raise FormatError(
                f"{field} has {len(values)} values for {len(self.sizes)} axes: expected one each; "
                "repair the header",
                code="BAD_HEADER",
            )
        return values


def _add(fields: dict[str, str], line: str) -> None:
    if line.startswith("#"):
        return
    if ":=" in line:
        key, _, value = line.partition(":=")
        if key == TIME_STEP:
            fields[key] = value
        return
    name, colon, value = line.partition(": ")
    field = re.sub(r"[\s]", "", name).lower()
    field = _SYNONYMS.get(field, field)
    if not colon or field not in _FIELDS:
        raise FormatError(
            f"the header has a line {line[:80]!r}, and NRRD has no such field: repair the header",
            code="BAD_HEADER",
        )
    if field in fields:
        raise FormatError(
            f"the header has two fields {name!r}: remove one of them", code="BAD_HEADER"
        )
    fields[field] = value.strip()


def _vector_text(part: str, field: str) -> str:
    if not (part.startswith("(") and part.endswith(")")):
        raise FormatError(
            f"{field} holds {part[:80]!r}, which is not a vector: repair the header",
            code="BAD_HEADER",
        )
    return part[1:-1]


def data_file(start: bytes) -> str:
    """Name of the file of voxels that a header gives; empty if they follow it.

    Raises:
        FormatError, TruncatedError: As `NrrdHeader.parse`.
    """
    return NrrdHeader.parse(start).fields.get("datafile", "")
