"""Whether a picture file is whole: decoders of JPEG and BMP paint what is missing, silently, and
those of TIFF leave out the pages.

Only markers and lengths are looked at, no picture is decoded.
"""

from __future__ import annotations

import os
import struct
from typing import Literal

from voxarray.errors import FormatError, TruncatedError

_PIECE = 1 << 20

_TIFF_LAYOUTS: dict[bytes, tuple[Literal["little", "big"], int, int, int, int]] = {
    b"II*\x00": ("little", 4, 2, 12, 4),
    b"MM\x00*": ("big", 4, 2, 12, 4),
    b"II+\x00": ("little", 8, 8, 20, 8),
    b"MM\x00+": ("big", 8, 8, 20, 8),
}
"""By its first bytes: byte order, where the first directory is named, bytes of the count of its
entries, of an entry, and of the position of the next."""


def require_whole_jpeg(fd: int) -> None:
    """Walk the segments of a JPEG file to its end-of-image marker (ITU T.81, annex B).

    Raises:
        FormatError: ``NOT_JPEG``.
        TruncatedError: The file ends before the marker.
    """
    if os.pread(fd, 2, 0) != b"\xff\xd8":
        raise FormatError("a JPEG file starts with FF D8, this one does not", code="NOT_JPEG")
    position = 2
    while True:
        marker = _next_marker(fd, position)
        if marker is None:
            raise _cut_short("JPEG")
        position, code = marker
        if code == 0xD9:  # end of image
            return
        if code in (0x01, *range(0xD0, 0xD9)):  # these stand alone
            continue
        length = os.pread(fd, 2, position)
        position += int.from_bytes(length, "big")


def require_whole_bmp(fd: int) -> None:
    """Compare the length of a BMP file with what its header promises.

    Raises:
        FormatError: ``NOT_BMP``, ``BAD_DIMS``.
        TruncatedError: The file lacks some of its rows.
    """
    header = os.pread(fd, 54, 0)
    if header[:2] != b"BM" or len(header) < 54:
        raise FormatError("a BMP file starts with BM and 52 bytes more", code="NOT_BMP")
    promised, _, offset, _, width, height, _, depth, compression, stored = struct.unpack_from(
        "<IIIIiiHHII", header, 2
    )
    if width < 1 or height == 0:
        raise FormatError(f"the picture has {width} x {height} pixels", code="BAD_DIMS")
    rows = stored if compression in (1, 2) else (width * depth + 31) // 32 * 4 * abs(height)
    if os.fstat(fd).st_size < max(offset + rows, promised if compression in (1, 2) else 0):
        raise _cut_short("BMP")


def require_whole_tiff(fd: int) -> None:
    """Follow the directories of a TIFF file, one for each page, to the last.

    Raises:
        FormatError: ``NOT_TIFF``, or ``BAD_HEADER`` for directories that go in a circle.
        TruncatedError: A directory lies beyond the end of the file.
    """
    start = os.pread(fd, 16, 0)
    layout = _TIFF_LAYOUTS.get(start[:4])
    if layout is None:
        raise FormatError(
            f"a TIFF file starts with II or MM and 42 or 43, this one with {start[:4]!r}",
            code="NOT_TIFF",
        )
    order, first, count_bytes, entry_bytes, offset_bytes = layout
    position, seen = int.from_bytes(start[first : first + offset_bytes], order), set[int]()
    while position:
        if position in seen:
            raise FormatError("the directories of the pages form a circle", code="BAD_HEADER")
        seen.add(position)
        count = int.from_bytes(_all_of(fd, count_bytes, position), order)
        after = position + count_bytes + count * entry_bytes
        position = int.from_bytes(_all_of(fd, offset_bytes, after), order)


def _all_of(fd: int, count: int, position: int) -> bytes:
    data = os.pread(fd, count, position) if position < os.fstat(fd).st_size else b""
    if len(data) < count:
        raise _cut_short("TIFF")
    return data


def _next_marker(fd: int, position: int) -> tuple[int, int] | None:
    """The next FF that is followed by neither 00 (a stuffed FF) nor FF: where it ends, its code."""
    last = b""
    while piece := os.pread(fd, _PIECE, position):
        data = last + piece
        start = position - len(last)
        found = data.find(b"\xff")
        while 0 <= found < len(data) - 1:
            if data[found + 1] not in (0x00, 0xFF):
                return start + found + 2, data[found + 1]
            found = data.find(b"\xff", found + 1)
        position += len(piece)
        last = data[-1:] if data.endswith(b"\xff") else b""
    return None


def _cut_short(kind: str) -> TruncatedError:
    return TruncatedError(f"the {kind} file ends before its picture does: copy it again")
