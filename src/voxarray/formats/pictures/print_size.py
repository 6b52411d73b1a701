"""What PNG, BMP and JPEG state of their pixels, and ITK, and so TorchIO, does not use.

Sizes for printing of PNG and BMP, aspect and orientation of JPEG (its size for printing is used).
A warning tells of them: most come from screens and printers, and an image that is opened by
both libraries should lie in the same place.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from voxarray.core import portable

Sizes = tuple[float, float]

_HEADER_BYTES = 1 << 20
_INCH, _CENTIMETRE = 25.4, 10.0
_JFIF_UNITS = {1: _INCH, 2: _CENTIMETRE}
_EXIF_ORIENTATION = 0x0112


def remarks(fd: int, suffix: str) -> list[str]:
    """What a picture states of the place of its pixels and nobody uses.

    Args:
        fd: Of a file that was checked to be whole.
        suffix: How it ends.
    """
    start = portable.pread(fd, _HEADER_BYTES, 0)
    if suffix == ".png":
        return _ignored(_of_png(start))
    if suffix == ".bmp":
        return _ignored(_of_bmp(start))
    return _of_jpeg(start)


def _ignored(size: Sizes | None) -> list[str]:
    if size is None or size == (1.0, 1.0):
        return []
    return [
        f"SPACING_NOT_USED: the picture is to be printed with pixels of {size[0]:.3g} x "
        f"{size[1]:.3g} mm; they are taken as 1 x 1 mm, as ITK does: set image.affine if a "
        "voxel has the size for printing"
    ]


def _of_png(start: bytes) -> Sizes | None:
    position = 8
    while position + 8 <= len(start):
        length, kind = struct.unpack_from(">I4s", start, position)
        if kind == b"pHYs" and position + 17 <= len(start):
            x, y, unit = struct.unpack_from(">IIB", start, position + 8)
            return (1e3 / x, 1e3 / y) if unit == 1 and x and y else None
        if kind == b"IDAT":
            return None
        position += 12 + length
    return None


def _of_bmp(start: bytes) -> Sizes | None:
    x, y = struct.unpack_from("<ii", start, 38)  # pixels per metre
    return (1e3 / x, 1e3 / y) if x > 0 and y > 0 else None


def _of_jpeg(start: bytes) -> list[str]:
    remarks = []
    for code, segment in _segments(start):
        if code == 0xE0 and segment.startswith(b"JFIF\0") and len(segment) >= 12:
            unit, x, y = struct.unpack_from(">BHH", segment, 7)
            if unit not in _JFIF_UNITS and x and y and x != y:
                remarks.append(
                    f"ASPECT_NOT_USED: pixels are {y} x {x} in a unit that is not given; they are "
                    "taken as 1 x 1 mm, as ITK does"
                )
        if code == 0xE1 and segment.startswith(b"Exif\0\0"):
            orientation = _exif_orientation(segment[6:])
            if orientation not in (None, 1):
                remarks.append(
                    f"ORIENTATION_NOT_USED: viewers turn or mirror this picture (Exif orientation "
                    f"{orientation}); it is read as it is stored, as ITK does"
                )
    return remarks


def _segments(start: bytes) -> Iterator[tuple[int, bytes]]:
    """Codes and contents of the segments before the picture itself."""
    position = 2
    while position + 4 <= len(start) and start[position] == 0xFF:
        code, length = (
            start[position + 1],
            int.from_bytes(start[position + 2 : position + 4], "big"),
        )
        if code in (0xD9, 0xDA):
            return
        yield code, start[position + 4 : position + 2 + length]
        position += 2 + length


def _exif_orientation(tiff: bytes) -> int | None:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return None
    (offset,) = struct.unpack_from(f"{order}I", tiff, 4)
    if offset + 2 > len(tiff):
        return None
    (count,) = struct.unpack_from(f"{order}H", tiff, offset)
    for entry in range(offset + 2, min(offset + 2 + 12 * count, len(tiff) - 11), 12):
        tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
        if tag == _EXIF_ORIENTATION:
            return int(value)
    return None
