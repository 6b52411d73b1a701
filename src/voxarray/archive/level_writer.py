"""One pyramid level on its way to disk: chunks come in, whole verified shards come out."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voxarray.archive.codecs import Codec, bits_of, is_background
from voxarray.archive.documents import chunk_key
from voxarray.archive.durability import ShardSync
from voxarray.archive.manifest import FileEntry
from voxarray.archive.shard import ShardWriter
from voxarray.core.errors import ArchiveError
from voxarray.geometry.layout import Index4, Layout
from voxarray.storage.buffers import copy_rows, scratch


@dataclass(frozen=True, slots=True)
class Encoded:
    """A chunk as it goes to disk.

    Attributes:
        index: Position in the array.
        parts: Encoded bytes and their crc32c, one after the other; empty for background.
    """

    index: Index4
    parts: tuple[bytes, ...]


_SETTLE_BYTES = 8 << 20
"""A shard is synced and read back in steps of this size, while later chunks are encoded. If it were
done in one step at its end, nothing would be left to encode during that of the last shards.
"""


@dataclass(slots=True)
class _OpenShard:
    writer: ShardWriter
    settling: ShardSync | None
    missing: int


@dataclass(slots=True)
class LevelWriter:
    """Writes the chunks of one array into its shards; used by one thread, except for `encode`.

    Attributes:
        root: Folder of the archive under construction.
        key: Folder of the array in it.
        layout: Shape, chunks, shards.
        dtype: Stored type.
        codec: Of the chunks.
        disk: One thread in which shards are synced and read back, which waits.
        record: Called with key and entry of every finished shard, when it is settled.
        hold: Called with key, bytes and entry instead, where shards stay in memory; then nothing
            is written here.
    """

    root: str
    key: str
    layout: Layout
    dtype: np.dtype
    codec: Codec
    disk: Executor
    record: Callable[[str, FileEntry], None]
    hold: Callable[[str, bytes, FileEntry], None] | None = None
    _open: dict[Index4, _OpenShard] = field(default_factory=dict)
    _settling: list[ShardSync] = field(default_factory=list)
    _pending: list[Future[None]] = field(default_factory=list)

    def encode(self, index: Index4, block: NDArray) -> Encoded:
        """Encode the voxels of one chunk (n, z, y, x), at most its shape; for worker threads.

        Raises:
            ArchiveError: If the bytes do not decode to the voxels again; ``VERIFY_FAILED``.
        """
        chunk = self._padded(block)
        if is_background(chunk):
            return Encoded(index, ())
        parts = self.codec.encode(chunk)
        # Checked at once: if a bit of the memory flipped while encoding, all checksums that follow
        # would be computed from the wrong bytes.
        decoded = scratch("decoded", self.layout.chunk, self.dtype)
        self.codec.decode_body(parts[0], decoded)
        if not np.array_equal(bits_of(decoded), bits_of(chunk)):
            raise ArchiveError(
                f"chunk {index} of {self.key} does not decode to what was encoded: the memory of "
                "this machine may be faulty; check it, and convert again",
                code="VERIFY_FAILED",
            )
        return Encoded(index, parts)

    def _padded(self, block: NDArray) -> NDArray:
        """A dense chunk that begins with a block."""
        whole = self.layout.chunk
        if block.shape == whole and block.dtype == self.dtype and block.flags.c_contiguous:
            return block
        chunk = scratch("chunk", whole, self.dtype)
        if block.shape != whole:
            chunk[...] = 0  # the scratch memory holds an earlier chunk, which would become padding
        copy_rows(chunk[tuple(slice(0, n) for n in block.shape)], block)
        return chunk

    def append(self, encoded: Encoded) -> None:
        """Put an encoded chunk into its shard, and finish the shard with its last chunk."""
        position = self.layout.shard_of(encoded.index)
        shard = self._open.get(position)
        if shard is None:
            shard = self._open[position] = self._begin(position)
        slot = self.layout.slot(encoded.index)
        if encoded.parts:
            shard.writer.append(slot, encoded.parts)
        shard.missing -= 1
        if shard.missing == 0:
            self._finish(position)
        elif shard.settling and shard.writer.size - shard.settling.asked >= _SETTLE_BYTES:
            shard.settling.asked = shard.writer.size
            self._pending.append(self.disk.submit(shard.settling.advance, shard.writer.size))

    def close(self) -> None:
        """Wait for syncing and reading back.

        Raises:
            ArchiveError: If a shard was not completed or does not hold what was written.
        """
        for future in self._pending:
            future.result()
        if self._open:
            raise ArchiveError(
                f"{self.key} lacks chunks in the shards {sorted(self._open)}: convert again, and "
                "report this error to voxarray"
            )

    def abandon(self) -> None:
        """Close files after a failure."""
        for future in self._pending:
            future.cancel()
        wait(self._pending)  # the thread may be reading a file that is closed below
        for sync in self._settling:
            sync.close()

    def _begin(self, position: Index4) -> _OpenShard:
        path = f"{self.root}/{self.key}/{chunk_key(position)}"
        slots, missing = math.prod(self.layout.chunks_per_shard), self.layout.chunks_in(position)
        if self.hold is not None:
            return _OpenShard(ShardWriter(path, slots, []), None, missing)
        writer = ShardWriter(path, slots)
        sync = ShardSync(writer.fd, path)
        self._settling.append(sync)
        return _OpenShard(writer, sync, missing)

    def _finish(self, position: Index4) -> None:
        shard = self._open.pop(position)
        key, entry = f"{self.key}/{chunk_key(position)}", shard.writer.finish()
        if self.hold is not None and shard.writer.held is not None:
            self.hold(key, b"".join(shard.writer.held), entry)
        elif shard.settling is not None:
            self._pending.append(self.disk.submit(self._settle, shard.settling, key, entry))

    def _settle(self, sync: ShardSync, key: str, entry: FileEntry) -> None:
        sync.finish(entry)
        self.record(key, entry)  # after this, the shard may be put into a bucket and deleted here
