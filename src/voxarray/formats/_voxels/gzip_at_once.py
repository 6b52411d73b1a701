"""A gzip file decoded in one call, which takes a third less time than front to back.

libdeflate decodes whole buffers only. Where it is installed (package ``deflate``, in the extra
``fast``), files go through it whose compressed and decoded bytes are few, and a small part of the
budget.
Whatever it does not take for one whole member with the bytes that the header promises is decoded
front to back by ISA-L, which finds what is wrong: so errors and their codes are the same.

Measured on real scans, CPU of ISA-L front to back = 1: libdeflate 0.66 to 0.95 (median 0.74),
ISA-L at once 1.0 to 2.0, zlib-ng 1.1 to 1.9.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from isal import isal_zlib

from voxarray.core import memory, portable
from voxarray.formats._voxels.file_array import StoredVoxels
from voxarray.formats._voxels.gzip_stream import MAGIC
from voxarray.formats._voxels.stream_decoders import (
    ByteFeed,
    Deflated,
    StreamDecoder,
    VoxelFeed,
)

LARGEST = 16 << 20
"""Compressed and decoded bytes, beyond which it costs more than it saves.

Buffers that leave the processor's caches are paid for in page faults and in reading them again, and
encoding waits for the end of decoding. A conversion of 256 MiB takes 0.23 s (0.36 s of CPU) front
to back and 0.42 s (0.47 s) at once; of 8 to 16 MiB at once takes up to 5 % less CPU.
"""

_SHARE = 16
"""Of the budget, which projections count on: so they grow by a sixteenth of it at most."""

_TRAILER = 8  # CRC-32 and length (RFC 1952, 2.3.1)


def bytes_at_once(decoder: StreamDecoder, available: int, stored: StoredVoxels) -> int:
    """Memory for decoding a file at once; 0 where it is decoded front to back.

    Args:
        decoder: Of the file.
        available: Bytes of the file.
        stored: Where the voxels are among the decoded bytes.
    """
    if not isinstance(decoder, Deflated) or _library() is None:
        return 0
    decoded = stored.offset + stored.nbytes
    needed = max(0, available - decoder.start) + decoded
    if decoded >= 1 << 32 or needed > min(LARGEST, memory.budget() // _SHARE):
        return 0  # lengths in trailers wrap around at 4 GiB
    return needed


def feed_of(decoder: StreamDecoder, fd: int, stored: StoredVoxels, at_once: int) -> VoxelFeed:
    """The bytes of the voxels of a compressed file.

    Args:
        decoder: Of the file.
        fd: Descriptor, open as long as this is used.
        stored: Where the voxels are among the decoded bytes.
        at_once: What `bytes_at_once` has said.
    """
    if at_once and isinstance(decoder, Deflated):
        decoded = _AtOnce(decoder, fd, stored.offset + stored.nbytes, at_once)
        return _VoxelsAtOnce(decoded, stored, decoder.trailer)
    return VoxelFeed(decoder.feed(fd), stored, decoder.trailer)


class _VoxelsAtOnce(VoxelFeed):
    """The bytes of voxels, which can be had where they are instead of being copied."""

    def __init__(self, decoded: _AtOnce, stored: StoredVoxels, trailer: int | None) -> None:
        super().__init__(decoded, stored, trailer)
        self._at_once = decoded

    def take(self, size: int) -> memoryview | None:
        self._skip()
        piece = self._at_once.take(size)
        self._done += 0 if piece is None else size
        return piece


class _AtOnce:
    """Decoded bytes, all made at the first question."""

    def __init__(self, decoder: Deflated, fd: int, decoded: int, limit: int) -> None:
        self._decoder, self._fd = decoder, fd
        self._decoded, self._limit = decoded, limit
        self._position = 0
        self._rest = memoryview(b"")
        self._stream: ByteFeed | None = None
        self._is_begun = False

    def read_some(self, view: memoryview) -> int:
        """As `ByteFeed.read_some`."""
        if not self._is_begun:
            self._begin()
        if self._stream is not None:
            return self._stream.read_some(view)
        piece = self._rest[: len(view)]
        view[: len(piece)] = piece
        self._rest = self._rest[len(piece) :]
        return len(piece)

    def take(self, size: int) -> memoryview | None:
        """The next bytes where they are; None if they are decoded front to back, or too few."""
        if not self._is_begun:
            self._begin()
        if self._stream is not None or size > len(self._rest):
            return None
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece

    def _begin(self) -> None:
        self._is_begun = True
        data = _decode_member(self._fd, self._decoder.start, self._decoded, self._limit)
        if data is None:
            self._stream = self._decoder.feed(self._fd)
        else:
            self._rest = memoryview(data)


def _decode_member(fd: int, start: int, decoded: int, limit: int) -> bytearray | None:
    """What a file decodes to, if it is one member of so many bytes and nothing else."""
    library = _library()
    size = os.fstat(fd).st_size - start
    if library is None or size <= _TRAILER or size + decoded > limit:
        return None
    data = portable.pread(fd, size, start)
    length = decoded.to_bytes(4, "little")
    if len(data) != size or not data.startswith(MAGIC) or data[-4:] != length:
        return None
    try:
        result: bytearray = library.gzip_decompress(data, decoded)  # compares CRC-32 and length
    except library.DeflateError:
        return None
    if len(result) != decoded:
        return None
    # It does not say where the member ended. Its trailer stands there, and stands only at the end
    # of the file: so it ended there, and no other member and no garbage follows.
    trailer = isal_zlib.crc32(result).to_bytes(4, "little") + length
    # Looked for backwards, which takes half the time.
    is_one = data.endswith(trailer) and data.rfind(trailer, 0, size - 1) < 0
    return result if is_one else None


@lru_cache(maxsize=1)
def _library() -> Any:
    try:
        import deflate
    except ImportError:
        return None
    return deflate
