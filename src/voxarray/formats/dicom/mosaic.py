"""Siemens mosaics: the slices of a volume as the tiles of one large plane.

Tiles are square in number and stand in rows; the last ones may be empty. How many hold a slice, and
in which direction slices follow one another, stands in private elements: in the CSA header (format
"SV10", as SPM and nibabel's nicom describe it) and partly beside it. What they do not say is not
guessed: such files are refused.

Whether a plane is a mosaic is told by the number of images in these elements. The word MOSAIC in
Image Type is lost where anonymisers rewrite it, and stays where the slices have been taken apart;
then the plane is no larger than the acquisition matrix, or holds one image.

Image Position is that of a plane as large as the mosaic around the centre of the first slice, not
that of the slice: it is moved back by half the difference, as nibabel and dcm2niix do.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace

import numpy as np

from voxarray.core.errors import FormatError, UnsupportedError
from voxarray.formats.dicom import tags
from voxarray.formats.dicom.elements import Elements
from voxarray.formats.dicom.pixel_layout import PixelLayout

Vector = tuple[float, ...]

_CREATOR = "SIEMENS CSA HEADER"
_MR_CREATOR = "SIEMENS MR HEADER"

_MAGIC = b"SV10"
_ENTRY = struct.Struct("<64si4s3i")  # name, multiplicity, VR, type, number of items, check
_ITEM = struct.Struct("<4i")  # its second number is the length of the value
_MOST = 1000
"""Entries, and items of one entry: nibabel's limit, too."""

_PARALLEL = 1e-3

_MOST_INTERPOLATED = 5
"""Pixels per acquired sample from which on a plane rather holds tiles: scanners go up to four."""


@dataclass(frozen=True, slots=True)
class Mosaic:
    """How the slices of a volume stand in a plane.

    Attributes:
        slices: How many.
        normal: Unit vector, LPS, from one slice to the next.
        spacing: Millimetres from one slice to the next.
        rows: Of the whole plane.
        columns: Of the whole plane.
    """

    slices: int
    normal: Vector
    spacing: float
    rows: int
    columns: int

    @property
    def across(self) -> int:
        """Tiles in a row of them, and rows of tiles."""
        # The smallest square that holds all slices; tiles behind the last one are black.
        return math.isqrt(self.slices - 1) + 1

    @classmethod
    def of(cls, header: Elements, layout: PixelLayout) -> Mosaic | None:
        """The mosaic that a header describes; None if its plane is none.

        Raises:
            UnsupportedError: It is one, and does not say all that must be known, or contradicts
                itself (``MOSAIC``).
        """
        if header.items(tags.FRAME_GROUPS) or layout.frames > 1 or is_one_slice(header, layout):
            return None
        csa = _csa(header)
        count = _count(header, csa)
        has_word = "MOSAIC" in header.texts(tags.IMAGE_TYPE)
        if count == 1 or (count is None and not has_word):
            return None
        if layout.samples != 1:
            raise _refusal(f"it has {layout.samples} samples per pixel")
        if csa is None:
            raise _refusal("it has no CSA header in the format SV10, which would describe it")
        if count is None:
            raise _refusal("the number of its slices is missing or contradictory")
        mosaic = cls(
            count,
            _normal(csa),
            _spacing(header),
            layout.rows,
            layout.columns,
        )
        if layout.rows % mosaic.across or layout.columns % mosaic.across:
            raise _refusal(
                f"{layout.columns} x {layout.rows} pixels do not make {mosaic.across} x "
                f"{mosaic.across} tiles of one size"
            )
        return mosaic

    def layout(self, plane: PixelLayout) -> PixelLayout:
        """The layout of the slices, as frames, in a file with the layout of the plane."""
        return replace(
            plane,
            frames=self.slices,
            rows=self.rows // self.across,
            columns=self.columns // self.across,
            across=self.across,
            down=self.across,
        )

    def position(self, position: Vector, orientation: Vector, pixel: Vector, slice_: int) -> Vector:
        """Centre of the first pixel of a slice, LPS mm.

        Args:
            position: That the header gives.
            orientation: Directions along which columns, then rows follow one another.
            pixel: Millimetres between rows, then between columns.
            slice_: Its number.

        Raises:
            UnsupportedError: Slices are not stacked along their normal (``MOSAIC``).
        """
        along_row, along_column = np.reshape(orientation, (2, 3))
        if abs(abs(np.cross(along_row, along_column) @ self.normal) - 1) > _PARALLEL:
            raise _refusal("its slices do not follow one another along their normal")
        # The header gives the corner that a slice as large as the whole plane would have, with
        # the same centre.
        share = (1 - 1 / self.across) / 2
        first = (
            np.array(position)
            + along_row * (pixel[1] * self.columns * share)
            + along_column * (pixel[0] * self.rows * share)
        )
        return tuple((first + np.multiply(self.normal, self.spacing * slice_)).tolist())


def looks_like_one(header: Elements, layout: PixelLayout) -> bool:
    """Whether a plane that is taken as it is may be a mosaic whose private elements were removed.

    Nothing says so but its size: a reconstruction makes few more pixels than were acquired.
    """
    acquired = _acquired(header)
    plane = (layout.columns, layout.rows)
    return (
        layout.frames == 1
        and not layout.is_tiled
        and acquired > 0
        and all(size % acquired == 0 and size // acquired >= _MOST_INTERPOLATED for size in plane)
    )


def is_one_slice(header: Elements, layout: PixelLayout) -> bool:
    """Whether the plane is no larger than the matrix of one slice, so that it holds no tiles."""
    acquired = _acquired(header)
    return max(layout.rows, layout.columns) <= acquired


def _acquired(header: Elements) -> float:
    """Samples along the longer side of what was acquired; 0 if that is not said in numbers."""
    try:
        return max(header.numbers(tags.ACQUISITION_MATRIX), default=0)
    except FormatError:  # a hint, written as text ("64*64") by some: no reason to refuse a file
        return 0


def _count(header: Elements, csa: dict[str, Vector] | None) -> int | None:
    """Number of slices, which two elements may say; None if neither does.

    Raises:
        UnsupportedError: They do not agree, or say what cannot be (``MOSAIC``).
    """
    stated = (csa or {}).get("NumberOfImagesInMosaic", ())
    if header.text(tags.SIEMENS_CREATOR) == _MR_CREATOR:
        stated += header.numbers(tags.SIEMENS_MOSAIC)[:1]
    counts = set(stated) - {0}
    if not counts:
        return None
    if len(counts) != 1 or not all(n >= 1 and n == int(n) and n <= _MOST for n in counts):
        raise _refusal("the number of its slices is missing or contradictory")
    return int(counts.pop())


def _normal(csa: dict[str, Vector]) -> Vector:
    normal = csa.get("SliceNormalVector", ())
    length = math.hypot(*normal)
    if len(normal) != 3 or abs(length - 1) > 1e-2:
        raise _refusal("the direction from one slice to the next is missing")
    return tuple(part / length for part in normal)


def _spacing(header: Elements) -> float:
    spacing = header.number(tags.SPACING_BETWEEN_SLICES)
    if spacing is None or not 0 < spacing < 1e4:
        raise _refusal("the distance between its slices is missing")
    return spacing


def _csa(header: Elements) -> dict[str, Vector] | None:
    """Numbers in the CSA header that matter here, by name; None if there is none."""
    raw = header.raw(tags.SIEMENS_CSA)
    if header.text(tags.SIEMENS_CSA_CREATOR) != _CREATOR or not raw.startswith(_MAGIC):
        return None
    try:
        return dict(_parse(raw))
    except (struct.error, ValueError):
        if "MOSAIC" not in header.texts(tags.IMAGE_TYPE) and _count(header, None) is None:
            return None  # damaged, and nothing says that it matters
        raise _refusal("its CSA header is damaged") from None


def _parse(raw: bytes) -> list[tuple[str, Vector]]:
    count, _ = struct.unpack_from("<2I", raw, 8)
    if count > _MOST:
        raise ValueError
    entries = []
    position = 16
    for _ in range(count):
        name, multiplicity, _, _, items, _ = _ENTRY.unpack_from(raw, position)
        position += _ENTRY.size
        values = []
        if not 0 <= items <= _MOST:
            raise ValueError
        for number in range(items):
            length = _ITEM.unpack_from(raw, position)[1]
            position += _ITEM.size
            if length < 0 or position + length > len(raw):
                raise ValueError
            if length and (number < multiplicity or multiplicity == 0):
                values.append(raw[position : position + length].split(b"\0")[0])
            position += length + -length % 4
        key = name.split(b"\0")[0].decode("latin-1")
        if key in ("NumberOfImagesInMosaic", "SliceNormalVector"):
            entries.append((key, _numbers(values)))
    return entries


def _numbers(values: list[bytes]) -> Vector:
    numbers = tuple(float(value) for value in values if value.strip())
    if not all(map(math.isfinite, numbers)):
        raise ValueError
    return numbers


def _refusal(why: str) -> UnsupportedError:
    return UnsupportedError(
        f"the plane is a Siemens mosaic, a volume laid out as tiles, and {why}: convert it with "
        "dcm2niix, or export it from the scanner as enhanced DICOM",
        code="MOSAIC",
    )
