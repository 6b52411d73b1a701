"""Part of a blosc chunk, without decoding the rest of it.

A frame of blosc 1 is a header of 16 bytes (versions, flags and item size in a byte each; then the
decoded, block and encoded bytes, little-endian 32-bit integers), a table of where each block
begins, and the blocks, which are independent of each other (c-blosc's ``README_CHUNK_FORMAT.rst``).
A header and a table that name only some of the blocks make a valid frame, too: so a frame is
narrowed in place to the blocks that are needed, and the library decodes it as any other.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.error_messages import MAKE_AGAIN
from voxarray.core.errors import FormatError

_SIZES = struct.Struct("<III")
HEADER = 16
_FLAGS = 2
_UNCOMPRESSED = 0x2
"""Flag of a chunk that compression would not make smaller: its bytes follow the header."""


@cache
def library() -> Any:
    """Numcodecs' blosc, loaded with the first chunk: 0.1 s that headers alone do not need."""
    from numcodecs import blosc

    # Blosc's own threads share one global lock; ours run one chunk each.
    blosc.use_threads = False
    return blosc


@dataclass(frozen=True, slots=True)
class BloscFrame:
    """The encoded bytes of one chunk.

    Attributes:
        body: The bytes; `decode_part` changes them.
        decoded: Bytes that they decode to.
        block: Decoded bytes of each block; the last may have fewer.
    """

    body: memoryview
    decoded: int
    block: int

    @classmethod
    def parse(cls, body: bytes | memoryview) -> BloscFrame:
        """Read the header.

        Raises:
            FormatError: If there is none, or it states another size than that of the bytes.
        """
        size = len(body)
        if size < HEADER:
            raise FormatError(
                f"a blosc chunk has {size} bytes, but its header alone takes {HEADER}: the "
                f"archive is damaged here; restore it, or {MAKE_AGAIN}"
            )
        decoded, block, stated = _SIZES.unpack_from(body, 4)
        # The library believes the header, and may read beyond the memory that holds the chunk.
        if stated != size:
            raise FormatError(
                f"a blosc chunk has {size} bytes, but its header states {stated}: the archive is "
                f"damaged here; restore it, or {MAKE_AGAIN}"
            )
        return cls(memoryview(body), decoded, block)

    @staticmethod
    def blocks(begin: int, end: int, decoded: int, block: int) -> tuple[int, int]:
        """Range of the blocks that hold some decoded bytes: the first, and the one after the last.

        Args:
            begin: First byte that is needed.
            end: The one after the last.
            decoded: Bytes that the chunk decodes to.
            block: Decoded bytes of a block.
        """
        first, last = begin // block, -(-end // block)
        if first and min(last * block, decoded) - first * block < block:
            first -= 1  # c-blosc refuses a frame that is shorter than one of its blocks
        return first, last

    def borders(self) -> tuple[int, ...] | None:
        """Where each block begins, and where the last ends; None if they are not in order."""
        body, block = self.body, self.block
        if body[_FLAGS] & _UNCOMPRESSED or block <= 0:
            return None
        count = -(-self.decoded // block)
        if HEADER + 4 * count > len(body):
            return None
        borders = (*struct.unpack_from(f"<{count}I", body, HEADER), len(body))
        in_order = all(a < b for a, b in itertools.pairwise((HEADER + 4 * count - 1, *borders)))
        return borders if in_order else None

    def decode(self, out: NDArray[np.uint8]) -> None:
        """Decode all of it into bytes of its decoded size."""
        library().decompress(self.body, out)

    def decode_part(self, out: NDArray[np.uint8], begin: int, end: int) -> None:
        """Decode the blocks that hold the decoded bytes from ``begin`` to ``end``.

        Args:
            out: Bytes of the whole decoded size; what is decoded goes where it belongs.
            begin: First byte that is needed.
            end: The one after the last.
        """
        body, block = self.body, self.block
        if body[_FLAGS] & _UNCOMPRESSED or block <= 0:  # there is no table of blocks
            self.decode(out)
            return
        first, last = self.blocks(begin, end, self.decoded, block)
        start, stop = first * block, min(last * block, self.decoded)
        if stop - start == self.decoded:
            self.decode(out)
            return
        if HEADER + 4 * last > len(body):
            raise FormatError(
                "a blosc chunk ends inside the table of its blocks: the archive is damaged here; "
                f"restore it, or {MAKE_AGAIN}"
            )
        # The library decodes whole frames only, so the header and the table are overwritten in
        # place to name these blocks alone. Offsets count from the start of the frame: the blocks
        # themselves need not move.
        body[HEADER : HEADER + 4 * (last - first)] = bytes(
            body[HEADER + 4 * first : HEADER + 4 * last]
        )
        _SIZES.pack_into(body, 4, stop - start, block, len(body))
        library().decompress(body, out[start:stop])
