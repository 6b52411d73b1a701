"""Compressed pixels: the items that hold their bytes (DICOM PS3.5, annex A.4)."""

from __future__ import annotations

import struct

from voxarray.core import portable
from voxarray.core.errors import FormatError, TruncatedError
from voxarray.formats.dicom.elements import ITEM, SEQUENCE_END, UNDEFINED, PixelElement


def require_whole(fd: int, size: int, element: PixelElement) -> None:
    """Check that every fragment is there in full: decoders fill what is missing with guesses.

    Args:
        fd: Descriptor of the file.
        size: Bytes in it.
        element: The pixels; they are little-endian in every compressed transfer syntax.

    Raises:
        TruncatedError: If the file ends within them.
        FormatError: If they are not made of items (``BAD_PIXEL_DATA``).
    """
    if element.length != UNDEFINED:
        raise FormatError(
            "the element of the compressed pixels states its length: expected an undefined "
            "length, and a DICOM item for each piece; export the file again",
            code="BAD_PIXEL_DATA",
        )
    position = element.offset
    while True:
        head = portable.pread(fd, 8, position)
        if len(head) < 8:
            raise TruncatedError(
                f"the compressed pixels end at byte {size}, without an end mark: copy or download "
                "the file again"
            )
        group, number, length = struct.unpack("<HHI", head)
        tag = group << 16 | number
        if tag == SEQUENCE_END:
            return
        if tag != ITEM:
            raise FormatError(
                f"the compressed pixels have no DICOM item at byte {position}: the file is "
                "damaged, copy or export it again",
                code="BAD_PIXEL_DATA",
            )
        position += 8 + length
        if position > size:
            raise TruncatedError(
                f"expected {position} bytes of compressed pixels, got {size}: copy or download "
                "the file again"
            )
