"""Whether a picture file is whole: decoders of JPEG and BMP paint what is missing, silently, and
those of TIFF leave out the pages.

Only markers and lengths are looked at, no picture is decoded.
"""

from __future__ import annotations

import os
import stat
import struct
from typing import Literal

from voxarray.core import portable
from voxarray.core.errors import FormatError, TruncatedError

_PIECE = 1 << 20

_TIFF_LAYOUTS: dict[bytes, tuple[Literal["little", "big"], int, int, int, int]] = {
    b"II*\x00": ("little", 4, 2, 12, 4),
    b"MM\x00*": ("big", 4, 2, 12, 4),
    b"II+\x00": ("little", 8, 8, 20, 8),
    b"MM\x00+": ("big", 8, 8, 20, 8),
}
"""By its first bytes: byte order, where the first directory is named, bytes of the count of its
entries, of an entry, and of the position of the next."""

_MOST_PAGES = 100_000
"""Directories of a TIFF file that are followed, which takes a second."""

_DESCRIPTION = 270
_OFFSETS = (273, 324)
"""Tags with the places of a page's strips or tiles."""
_MOST_ENTRIES = 4096
_LONGEST_DESCRIPTION = 256 << 20  # OME-XML names each plane, and there may be many

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def require_whole_png(fd: int) -> None:
    """Walk the chunks of a PNG file to its last (ISO 15948, 5.3).

    The decoder sets memory aside for as many bytes as a chunk says it has.

    Raises:
        FormatError: ``NOT_PNG``.
        TruncatedError: A chunk reaches beyond the end of the file.
    """
    if portable.pread(fd, 8, 0) != _PNG_MAGIC:
        raise FormatError(
            "a PNG file starts with 89 50 4E 47, but this one does not: it has another format or "
            "is damaged; check its suffix, or copy it again",
            code="NOT_PNG",
        )
    position, size = len(_PNG_MAGIC), os.fstat(fd).st_size
    while True:
        head = portable.pread(fd, 8, position)
        position += 12 + int.from_bytes(head[:4], "big")  # its length, kind and checksum
        if len(head) < 8 or position > size:
            raise _cut_short("PNG")
        if head[4:] == b"IEND":
            return


def require_whole_jpeg(fd: int) -> None:
    """Walk the segments of a JPEG file to its end-of-image marker (ITU T.81, annex B).

    Raises:
        FormatError: ``NOT_JPEG``.
        TruncatedError: The file ends before the marker.
    """
    if portable.pread(fd, 2, 0) != b"\xff\xd8":
        raise FormatError(
            "a JPEG file starts with FF D8, but this one does not: it has another format or is "
            "damaged; check its suffix, or copy it again",
            code="NOT_JPEG",
        )
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
        length = portable.pread(fd, 2, position)
        position += int.from_bytes(length, "big")


def require_whole_bmp(fd: int) -> None:
    """Compare the length of a BMP file with what its header promises.

    Raises:
        FormatError: ``NOT_BMP``, ``BAD_DIMS``.
        TruncatedError: The file lacks some of its rows.
    """
    header = portable.pread(fd, 54, 0)
    if header[:2] != b"BM" or len(header) < 54:
        raise FormatError(
            "a BMP file starts with BM and has a header of at least 54 bytes, but this one does "
            "not: it has another format or is damaged; check its suffix, or copy it again",
            code="NOT_BMP",
        )
    promised, _, offset, _, width, height, _, depth, compression, stored = struct.unpack_from(
        "<IIIIiiHHII", header, 2
    )
    if width < 1 or height == 0:
        raise FormatError(
            f"the picture has {width} x {height} pixels: expected at least one along each side; "
            "copy or download the file again",
            code="BAD_DIMS",
        )
    rows = stored if compression in (1, 2) else (width * depth + 31) // 32 * 4 * abs(height)
    if os.fstat(fd).st_size < max(offset + rows, promised if compression in (1, 2) else 0):
        raise _cut_short("BMP")


def require_whole_tiff(fd: int) -> tuple[int, int]:
    """Follow the directories of a TIFF file, one for each page, to the last.

    Returns:
        How many pages there are, and how many strips or tiles in all of them.

    Raises:
        FormatError: ``NOT_TIFF``, or ``BAD_HEADER`` for directories that go in a circle.
        TruncatedError: A directory lies beyond the end of the file.
    """
    start = portable.pread(fd, 16, 0)
    layout = _TIFF_LAYOUTS.get(start[:4])
    if layout is None:
        raise FormatError(
            "a TIFF file starts with II or MM, followed by 42 or 43, but this one with "
            f"{start[:4]!r}: it has another format or is damaged; check its suffix, or copy it "
            "again",
            code="NOT_TIFF",
        )
    order, first, count_bytes, entry_bytes, offset_bytes = layout
    size, segments = os.fstat(fd).st_size, 0
    position, visited = int.from_bytes(start[first : first + offset_bytes], order), set[int]()
    while position:
        if position in visited:
            raise FormatError(
                "the list of pages leads back to an earlier page: the file is damaged, export it "
                "again",
                code="BAD_HEADER",
            )
        if len(visited) == _MOST_PAGES:
            raise FormatError(
                f"the file has more than {_MOST_PAGES} pages: split the file", code="BAD_HEADER"
            )
        visited.add(position)
        count = int.from_bytes(_all_of(fd, count_bytes, position, size), order)
        # What has more entries is no picture, and only its end is of interest.
        read = count * entry_bytes if count <= _MOST_ENTRIES else 0
        after = position + count_bytes + count * entry_bytes - read
        entries = _all_of(fd, read + offset_bytes, after, size)
        position = int.from_bytes(entries[read:], order)
        for at in range(0, read, entry_bytes):
            if int.from_bytes(entries[at : at + 2], order) in _OFFSETS:
                stated = entries[at + 4 : at + entry_bytes - offset_bytes]
                segments += min(size, int.from_bytes(stated, order))
    return len(visited), segments


def first_description(path: str | os.PathLike[str]) -> str:
    """ImageDescription of the first page of a TIFF file; empty if it has none, or is no TIFF.

    Raises:
        TruncatedError: It lies beyond the end of the file.
        OSError: The file cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | portable.CLOEXEC | portable.NONBLOCK | portable.BINARY)
    try:
        status = os.fstat(fd)
        start = portable.pread(fd, 16, 0) if stat.S_ISREG(status.st_mode) else b""
        layout = _TIFF_LAYOUTS.get(start[:4])
        if layout is None:
            return ""
        order, first, count_bytes, entry_bytes, offset_bytes = layout
        offset = int.from_bytes(start[first : first + offset_bytes], order)
        count = int.from_bytes(_all_of(fd, count_bytes, offset, status.st_size), order)
        count = min(count, _MOST_ENTRIES)
        entries = _all_of(fd, count * entry_bytes, offset + count_bytes, status.st_size)
        for at in range(0, len(entries), entry_bytes):
            entry = entries[at : at + entry_bytes]
            if int.from_bytes(entry[:2], order) == _DESCRIPTION:
                size = int.from_bytes(entry[4:-offset_bytes], order)
                value = entry[-offset_bytes:]
                if size > offset_bytes:
                    size = min(size, _LONGEST_DESCRIPTION)
                    value = _all_of(fd, size, int.from_bytes(value, order), status.st_size)
                return value[:size].rstrip(b"\0").decode("utf-8", "replace")
        return ""
    finally:
        os.close(fd)


def _all_of(fd: int, count: int, position: int, size: int) -> bytes:
    data = portable.pread(fd, count, position) if position < size else b""
    if len(data) < count:
        raise _cut_short("TIFF")
    return data


def _next_marker(fd: int, position: int) -> tuple[int, int] | None:
    """The next FF that is followed by neither 00 (a stuffed FF) nor FF: where it ends, its code."""
    last = b""
    while block := portable.pread(fd, _PIECE, position):
        data = last + block
        start = position - len(last)
        index = data.find(b"\xff")
        while 0 <= index < len(data) - 1:
            if data[index + 1] not in (0x00, 0xFF):
                return start + index + 2, data[index + 1]
            index = data.find(b"\xff", index + 1)
        position += len(block)
        last = data[-1:] if data.endswith(b"\xff") else b""
    return None


def _cut_short(kind: str) -> TruncatedError:
    return TruncatedError(f"the {kind} file ends before its picture does: copy it again")
