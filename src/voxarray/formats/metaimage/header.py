"""The text of a MetaImage header: ``Key = value`` lines that end with ``ElementDataFile``.

Format: https://itk.org/Wiki/ITK/MetaIO/Documentation; where that is silent, MetaIO's own reading
of it, which is ITK's. Positions are LPS+ mm.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError, TruncatedError, UnsupportedError
from voxarray.formats._voxels.file_array import COMPONENTS, VOLUMES, Axes
from voxarray.formats._voxels.header_text import (
    LARGEST_TEXT,
    checked_sizes,
    lines_of,
    real_numbers,
    text_of,
    whole_numbers,
)
from voxarray.geometry.lps import ras_from_itk
from voxarray.geometry.selection import Shape4
from voxarray.geometry.units import length_in_mm
from voxarray.source.base import Channels

_DTYPES = {
    "MET_CHAR": "i1",
    "MET_ASCII_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",  # metaTypes.h: 4 bytes in files, on all machines
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}

_SEPARATOR = re.compile("[=:]")

SEVERAL_FILES = re.compile("%")
"""What a name holds that stands for the names of several files, as MetaIO reads it."""

_MATRIX = ("TransformMatrix", "Rotation", "Orientation")
_OFFSET = ("Offset", "Position", "Origin")
_SPACING = ("ElementSpacing", "ElementSize")
TIME_STEP = "TimeStepInSeconds"
"""A field of voxarray's own, which other readers keep or leave out: components count time."""

_MSB = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
"""Names of one thing; where there are several, the first that is given counts."""


@dataclass(frozen=True)
class MetaHeader:
    """Fields of a MetaImage header.

    Attributes:
        fields: Values by key.
        end: Bytes of the header, where local voxels start.
    """

    fields: dict[str, str]
    end: int

    @classmethod
    def parse(cls, start: bytes) -> MetaHeader:
        """Header at the start of a file.

        Raises:
            FormatError: ``NOT_METAIMAGE``, or ``BAD_HEADER`` for a line without a key, or a key
                that is given twice.
            TruncatedError: A header without its last line.
        """
        fields: dict[str, str] = {}
        for line, end in lines_of(start):
            key, equals, value = _SEPARATOR.sub("=", text_of(line), 1).partition("=")
            key = key.strip()
            if not equals and not key:
                continue
            if not equals or key in fields:
                code = "BAD_HEADER" if fields else "NOT_METAIMAGE"
                raise FormatError(
                    f"the line {line[:80]!r} is not 'Key = value', or repeats a key: repair the "
                    "header",
                    code=code,
                )
            fields[key] = value.strip()
            if key == "ElementDataFile":
                return cls(fields, end)
        if len(start) >= LARGEST_TEXT:
            raise FormatError(
                "there is no line ElementDataFile, which ends a MetaImage header, in the first "
                f"{LARGEST_TEXT} bytes: the file is damaged or has another format",
                code="BAD_HEADER",
            )
        raise TruncatedError(
            "a MetaImage header ends with ElementDataFile, and this one does not: it was cut "
            "short, copy or download the file again"
        )

    def check(self) -> None:
        """Refuse what is no image.

        Raises:
            FormatError: ``NOT_METAIMAGE``, ``BAD_HEADER``.
        """
        if self.fields.get("ObjectType", "Image") != "Image":
            raise FormatError(
                f"ObjectType is {self.fields['ObjectType']!r}: expected Image; a MetaIO object of "
                "another type is no image. Open an image file instead",
                code="NOT_METAIMAGE",
            )
        if self.is_compressed and not self.is_binary:
            raise FormatError(
                "the header says that voxels are compressed text (BinaryData = False, "
                "CompressedData = True), but only binary voxels can be compressed: repair the "
                "header",
                code="BAD_HEADER",
            )

    # --- Voxels -------------------------------------------------------------------------------

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the axes, x first.

        Raises:
            FormatError: ``BAD_DIMS``.
            UnsupportedError: More or fewer than an image has (``UNSUPPORTED_DIMS``).
        """
        sizes = checked_sizes(whole_numbers(self._required("DimSize"), "DimSize"), 10)
        if whole_numbers(self._required("NDims"), "NDims") != [len(sizes)]:
            raise FormatError(
                f"NDims is {self.fields['NDims']} and DimSize has {len(sizes)} sizes: expected as "
                "many sizes as dimensions; repair the header",
                code="BAD_DIMS",
            )
        if not 2 <= len(sizes) <= 4 or (len(sizes) == 4 and sizes[3] > 1 < self.components):
            raise UnsupportedError(
                f"DimSize {sizes} with {self.components} components are not the axes (C, W, H, D) "
                "of a plane or volume: split the file",
                code="UNSUPPORTED_DIMS",
            )
        return sizes

    @property
    def components(self) -> int:
        """Numbers that stand together for each voxel.

        Raises:
            FormatError: ``BAD_DIMS``.
        """
        (count,) = checked_sizes(
            whole_numbers(self.fields.get("ElementNumberOfChannels", "1"), "channels"), 1
        )
        return count

    @property
    def shape(self) -> Shape4:
        """(C, W, H, D)."""
        w, h, d, volumes = (*self.sizes, 1, 1)[:4]
        return volumes * self.components, w, h, d

    @property
    def order(self) -> Axes:
        """Axes (C, W, H, D) by how slowly they run in the file."""
        return COMPONENTS if self.components > 1 else VOLUMES

    @property
    def channels(self) -> Channels:
        """What C counts: ITK's fourth dimension is time, in the seconds that it reads elsewhere.

        Components count time where voxarray wrote so.
        """
        if len(self.sizes) == 4 and self.components == 1:
            step = self._numbers(_SPACING, 4, [math.nan] * 4)[3]
        elif TIME_STEP in self.fields:
            step = self._numbers((TIME_STEP,), 1, [0.0])[0]
        else:
            return Channels()
        return Channels("time", step if math.isfinite(step) and step > 0 else 0.0)

    @property
    def dtype(self) -> np.dtype:
        """Type of a number, in the file's byte order.

        Raises:
            UnsupportedError: ``UNSUPPORTED_DTYPE``.
            FormatError: Two fields contradict one another (``BAD_HEADER``).
        """
        name = self._required("ElementType").removesuffix("_ARRAY")
        if name not in _DTYPES:
            raise UnsupportedError(
                f"voxels of MetaImage type {name!r} cannot be read: known are "
                f"{', '.join(_DTYPES)}; convert the file to one of them",
                code="UNSUPPORTED_DTYPE",
            )
        orders = {self._flag(key) for key in _MSB if key in self.fields} or {False}
        if len(orders) > 1:
            raise FormatError(
                f"{' and '.join(_MSB)} contradict one another: repair the header", code="BAD_HEADER"
            )
        return np.dtype(_DTYPES[name]).newbyteorder(">" if orders.pop() else "<")

    @property
    def is_binary(self) -> bool:
        """Whether voxels are numbers as memory holds them, not text."""
        return self._flag("BinaryData", default=True)

    @property
    def is_compressed(self) -> bool:
        """Whether they are a zlib stream."""
        return self._flag("CompressedData")

    @property
    def skipped(self) -> int:
        """Bytes before detached voxels; -1 if the voxels are what the file ends with.

        Raises:
            FormatError: ``BAD_OFFSET``.
        """
        numbers = whole_numbers(self.fields.get("HeaderSize", "0"), "HeaderSize")
        if len(numbers) != 1 or numbers[0] < -1:
            raise FormatError(
                f"HeaderSize is {self.fields['HeaderSize']}: expected a number of bytes, or -1; "
                "repair the header",
                code="BAD_OFFSET",
            )
        return numbers[0]

    # --- Geometry -----------------------------------------------------------------------------

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) voxel index to RAS+ mm.

        Raises:
            FormatError: ``BAD_SPACING``, ``BAD_HEADER``.
            UnsupportedError: Space is mixed with the fourth dimension (``UNSUPPORTED_DIMS``).
        """
        count = len(self.sizes)
        spacing = self._numbers(_SPACING, count, [1.0] * count)
        if not all(math.isfinite(mm) and mm != 0 for mm in spacing[:3]):
            raise FormatError(
                f"the spacing is {spacing}: it must be finite and not 0; repair the header",
                code="BAD_SPACING",
            )
        # A row of the file is the direction of one voxel axis; ITK holds those as columns.
        identity = np.eye(count).ravel().tolist()
        rows = np.array(self._numbers(_MATRIX, count * count, identity)).reshape(count, count)
        if rows[3:, :3].any() or rows[:3, 3:].any():
            raise UnsupportedError(
                "the matrix mixes space with the fourth dimension: split the file",
                code="UNSUPPORTED_DIMS",
            )
        origin = self._numbers(_OFFSET, count, [0.0] * count)
        scale = length_in_mm(self._unit) or 1.0
        spacing, origin = ([scale * mm for mm in numbers] for numbers in (spacing, origin))
        return ras_from_itk(spacing, origin, rows.T.ravel().tolist())

    @property
    def _unit(self) -> str:
        unit = self.fields.get("DistanceUnits", "mm").strip()
        return "mm" if unit in ("", "?") else unit

    def remarks(self) -> list[str]:
        """What is odd about the header and does not keep the image from being read."""
        warnings = []
        factor = length_in_mm(self._unit)
        if factor is None:
            warnings.append(f"UNKNOWN_UNIT: distances are in {self._unit!r}; taken as millimetres")
        elif factor != 1:
            warnings.append(
                f"NOT_MILLIMETRES: distances are in {self._unit}; voxarray converts them to mm, "
                "and ITK does not"
            )
        slope = self._numbers(("ElementToIntensityFunctionSlope",), 1, [1.0])[0]
        offset = self._numbers(("ElementToIntensityFunctionOffset",), 1, [0.0])[0]
        if (slope, offset) != (1, 0):
            warnings.append(
                f"SCALE_IGNORED: the header says that intensities are voxels * {slope:g} + "
                f"{offset:g}; the voxels are taken as they are, as ITK does"
            )
        return warnings

    def _required(self, key: str) -> str:
        if key not in self.fields:
            raise FormatError(f"the header has no {key}: repair the header", code="BAD_HEADER")
        return self.fields[key]

    def _flag(self, key: str, *, default: bool = False) -> bool:
        text = self.fields.get(key, str(default)).lower()
        if text not in ("true", "false", "1", "0"):
            raise FormatError(
                f"{key} is {text!r}: expected True or False; repair the header", code="BAD_HEADER"
            )
        return text in ("true", "1")

    def _numbers(self, keys: tuple[str, ...], count: int, default: list[float]) -> list[float]:
        key = next((key for key in keys if key in self.fields), None)
        if key is None:
            return default
        numbers = real_numbers(self.fields[key], key)
        if len(numbers) != count:
            raise FormatError(
                f"{key} holds {len(numbers)} numbers: expected {count}; repair the header",
                code="BAD_HEADER",
            )
        return numbers


def data_file(start: bytes) -> str:
    """Name of the file of voxels that a header gives; empty if they follow it.

    Raises:
        FormatError, TruncatedError: As `MetaHeader.parse`.
    """
    name = MetaHeader.parse(start).fields["ElementDataFile"]
    return "" if name.upper() == "LOCAL" else name
