"""Blocks of a chunk that was read whole before: read by themselves, and checked all the same.

A small box needs a block or two of a chunk, but the checksum that was written is the whole chunk's,
so that most of the time goes into bytes of which only the checksum is wanted. A crc32c runs: what
it is at the beginning of a block, with the bytes of the block, gives what it is at its end. So what
it was at the borders of blocks, kept from when the whole was found intact, checks any of them.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from voxarray.archive.blosc_frame import HEADER, BloscFrame, library
from voxarray.core.errors import FormatError
from voxarray.storage.buffers import scratch_bytes
from voxarray.storage.store import Blob

_SHARE = 4
"""A quarter of a chunk is read by itself; more of it costs about as much as the whole."""

_MOST = 1 << 15
"""Borders of blocks that a process keeps: about 3 MiB of numbers."""

_kept: dict[tuple[int, int], CheckedBlocks] = {}
_borders = 0


@dataclass(frozen=True, slots=True)
class CheckedBlocks:
    """What is kept of a chunk that was found intact.

    Attributes:
        header: The first bytes of its frame, up to the sizes.
        decoded: Bytes that it decodes to.
        block: Decoded bytes of each block; the last may have fewer.
        borders: Where each block begins in the encoded chunk, and where the last one ends.
        sums: crc32c of all bytes before each border.
    """

    header: bytes
    decoded: int
    block: int
    borders: tuple[int, ...]
    sums: tuple[int, ...]

    @classmethod
    def of(cls, body: NDArray[np.uint8], crc: int) -> CheckedBlocks | None:
        """The blocks of an encoded chunk; None if it is not intact, or has no blocks in order.

        Args:
            body: Its bytes, without their crc32c.
            crc: What that must be.
        """
        try:
            frame = BloscFrame.parse(body.data)
            borders = frame.borders()
        except FormatError:
            return None
        if borders is None:
            return None
        body = body.view()
        body.flags.writeable = False  # google_crc32c takes none that can change
        found: int = google_crc32c.value(body[: borders[0]])
        sums = [found]
        for begin, end in itertools.pairwise(borders):
            found = google_crc32c.extend(found, body[begin:end])
            sums.append(found)
        if found != crc:
            return None
        header = body[:4].tobytes()
        return cls(header, frame.decoded, frame.block, borders, tuple(sums))

    def read(self, blob: Blob, offset: int, out: NDArray[np.uint8], begin: int, end: int) -> bool:
        """Read, check and decode the blocks that hold some decoded bytes of the chunk.

        Args:
            blob: The shard.
            offset: Of the chunk in it.
            out: Bytes of the whole decoded chunk; what is decoded goes where it belongs.
            begin: First byte that is needed.
            end: The one after the last.

        Returns:
            Whether that was done: False if the bytes are not those that were seen before.
        """
        first, last = BloscFrame.blocks(begin, end, self.decoded, self.block)
        borders = self.borders
        place, count = borders[first], last - first
        ahead = HEADER + 4 * count
        encoded = scratch_bytes("encoded", ahead + borders[last] - place)
        blocks = encoded[ahead:]
        if blob.read_into(offset + place, blocks) != len(blocks):
            return False
        seen = blocks.view()
        seen.flags.writeable = False
        if google_crc32c.extend(self.sums[first], seen) != self.sums[last]:
            return False
        start, stop = first * self.block, min(last * self.block, self.decoded)
        struct.pack_into(
            f"<4s3I{count}i",
            encoded.data,
            0,
            self.header,
            stop - start,
            self.block,
            len(encoded),
            *(border - place + ahead for border in borders[first:last]),
        )
        library().decompress(encoded, out[start:stop])
        return True


def is_small(begin: int, end: int, decoded: int) -> bool:
    """Whether some decoded bytes of a chunk are so few that its other blocks are left alone."""
    return (end - begin) * _SHARE <= decoded


def known(shard: int, slot: int) -> CheckedBlocks | None:
    """What is kept of a chunk, by the numbers of its open shard and in it."""
    return _kept.get((shard, slot))


def keep(shard: int, slot: int, blocks: CheckedBlocks) -> None:
    """Keep what was seen of a chunk; everything else is forgotten when it is too much."""
    global _borders
    _borders += len(blocks.borders)  # a lost update between threads costs nothing
    if _borders > _MOST:
        _kept.clear()
        _borders = len(blocks.borders)
    _kept[shard, slot] = blocks
