"""Single blocks of a chunk, read and checked alone, once the whole chunk has been read.

A small box needs a block or two of a chunk, but the archive stores one checksum for the whole
chunk, so that most of the time goes into bytes that only the checksum needs. A crc32c can be
extended: from its value at the beginning of a block and the bytes of the block follows its value at
the end. So when a whole chunk is found intact, its running crc32c at every border of blocks is
kept, and later checks any of the blocks.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from voxarray.archive.blosc_frame import HEADER, BloscFrame, library
from voxarray.archive.codecs import CRC_BYTES, Codec
from voxarray.core.error_messages import MAKE_AGAIN
from voxarray.core.errors import FormatError, TruncatedError
from voxarray.storage.buffers import scratch_bytes
from voxarray.storage.store import Blob

Place = tuple[Blob, int, int]
"""Where an encoded chunk is: a file, the offset in it, and the length, both in bytes."""

_SHARE = 4
"""Up to a quarter of a chunk is read as blocks; more costs about as much as the whole chunk."""

_MAX_BORDERS = 1 << 15
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
            crc: The crc32c that was written.
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
        running_crc: int = google_crc32c.value(body[: borders[0]])
        sums = [running_crc]
        for begin, end in itertools.pairwise(borders):
            running_crc = google_crc32c.extend(running_crc, body[begin:end])
            sums.append(running_crc)
        if running_crc != crc:
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
            False if the bytes are not those that were found intact before; nothing is decoded then.
        """
        first, last = BloscFrame.blocks(begin, end, self.decoded, self.block)
        borders = self.borders
        blocks_start, count = borders[first], last - first
        table_end = HEADER + 4 * count
        encoded = scratch_bytes("encoded", table_end + borders[last] - blocks_start)
        blocks = encoded[table_end:]
        if blob.read_into(offset + blocks_start, blocks) != len(blocks):
            return False
        read_only = blocks.view()
        read_only.flags.writeable = False
        if google_crc32c.extend(self.sums[first], read_only) != self.sums[last]:
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
            *(border - blocks_start + table_end for border in borders[first:last]),
        )
        library().decompress(encoded, out[start:stop])
        return True


def is_small(begin: int, end: int, decoded: int) -> bool:
    """Whether so few decoded bytes of a chunk are needed that its blocks are read one by one."""
    return (end - begin) * _SHARE <= decoded


def known(shard: int, slot: int) -> CheckedBlocks | None:
    """What is kept of a chunk, by the number of its open shard and its slot in the shard."""
    return _kept.get((shard, slot))


def decode_small(
    name: tuple[int, int],
    codec: Codec,
    place: Place,
    crc: int,
    out: NDArray[np.uint8],
    needed: tuple[int, int],
) -> None:
    """Decode a small part of a chunk; the whole chunk is read the first time only.

    Args:
        name: Number of its open shard, and its slot in the shard.
        codec: Of the chunk.
        place: Where the encoded chunk is.
        crc: The crc32c that was written.
        out: Bytes of the whole decoded chunk; what is decoded goes where it belongs.
        needed: First decoded byte that is needed, and the one after the last.

    Raises:
        VoxarrayError: If the chunk is damaged.
    """
    blob, offset, _ = place
    blocks = _kept.get(name)
    # If the blocks have changed, reading the whole chunk raises the proper error.
    if blocks is not None and blocks.read(blob, offset, out, *needed):
        return
    chunk = encoded_chunk(place)
    blocks = CheckedBlocks.of(chunk[:-CRC_BYTES], crc)
    if blocks is None or blocks.decoded != out.size:
        codec.decode(chunk, out, *needed, crc)
        return
    keep(*name, blocks)
    # Decoded from the blocks now, too: a forged chunk must not give one result the first time,
    # and another one later.
    if not blocks.read(blob, offset, out, *needed):
        codec.decode(encoded_chunk(place), out, *needed, crc)


def encoded_chunk(place: Place) -> NDArray[np.uint8]:
    """The bytes of a chunk, in memory that is reused for the next chunk.

    Raises:
        TruncatedError: If the file ends before.
    """
    blob, offset, length = place
    encoded = scratch_bytes("encoded", length)
    if blob.read_into(offset, encoded) != length:
        raise TruncatedError(
            "the shard ends inside the chunk: the archive is damaged here; restore it, or "
            f"{MAKE_AGAIN}"
        )
    return encoded


def keep(shard: int, slot: int, blocks: CheckedBlocks) -> None:
    """Keep the blocks of a chunk; when that exceeds the limit, all others are forgotten."""
    global _borders
    _borders += len(blocks.borders)  # a lost update between threads costs nothing
    if _borders > _MAX_BORDERS:
        _kept.clear()
        _borders = len(blocks.borders)
    _kept[shard, slot] = blocks
