"""One pyramid level on its way to disk: chunks come in, whole verified shards come out."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voxarray.archive.codecs import Codec
from voxarray.archive.documents import chunk_key
from voxarray.archive.manifest import FileEntry, file_entry
from voxarray.archive.rows import copy_rows
from voxarray.archive.scratch import scratch
from voxarray.archive.shard import ShardWriter
from voxarray.archive.store import FileBlob
from voxarray.errors import ArchiveError
from voxarray.layout import Index4, Layout


@dataclass(frozen=True, slots=True)
class Encoded:
    """A chunk as it goes to disk.

    Attributes:
        index: Position in the array.
        data: Encoded bytes; None for background.
    """

    index: Index4
    data: bytes | None


@dataclass(slots=True)
class _OpenShard:
    writer: ShardWriter
    missing: int


@dataclass(slots=True)
class LevelWriter:
    """Writes the chunks of one array into its shards; used by one thread, but for `encode`.

    Attributes:
        root: Folder of the archive under construction.
        key: Folder of the array in it.
        layout: Shape, chunks, shards.
        dtype: Stored type.
        codec: Of the chunks.
        disk: Where finished shards are synced and read back, which waits.
        record: Called with key and entry of every finished shard.
    """

    root: str
    key: str
    layout: Layout
    dtype: np.dtype
    codec: Codec
    disk: Executor
    record: Callable[[str, FileEntry], None]
    _open: dict[Index4, _OpenShard] = field(default_factory=dict)
    _pending: list[tuple[int, Future[None]]] = field(default_factory=list)

    def encode(self, index: Index4, block: NDArray) -> Encoded:
        """Encode the voxels of one chunk (n, z, y, x), at most its shape; for worker threads.

        Raises:
            ArchiveError: If the bytes do not decode to the voxels again; ``VERIFY_FAILED``.
        """
        chunk = scratch("chunk", self.layout.chunk, self.dtype)
        if block.shape != chunk.shape:
            chunk[...] = 0
        copy_rows(chunk[tuple(slice(0, n) for n in block.shape)], block)
        # Bits, not values: -0.0 equals zero and is not the same voxel.
        if not _bits(chunk).any():
            return Encoded(index, None)
        data = self.codec.encode(chunk)
        decoded = scratch("decoded", self.layout.chunk, self.dtype)
        self.codec.decode(data, decoded)
        if not np.array_equal(_bits(decoded), _bits(chunk)):
            raise ArchiveError(
                f"chunk {index} of {self.key} does not decode to what was encoded: suspect the "
                "memory of this machine",
                code="VERIFY_FAILED",
            )
        return Encoded(index, data)

    def append(self, encoded: Encoded) -> None:
        """Put an encoded chunk into its shard, and finish the shard with its last chunk."""
        position = self.layout.shard_of(encoded.index)
        shard = self._open.get(position)
        if shard is None:
            shard = self._open[position] = self._begin(position)
        slot = self.layout.slot(encoded.index)
        if encoded.data is not None:
            shard.writer.append(slot, encoded.data)
        shard.missing -= 1
        if shard.missing == 0:
            self._finish(position)

    def close(self) -> None:
        """Wait for syncing and reading back.

        Raises:
            ArchiveError: If a shard was not completed or does not hold what was written.
        """
        for _, future in self._pending:
            future.result()
        if self._open:
            raise ArchiveError(f"{self.key} lacks chunks in the shards {sorted(self._open)}")

    def abandon(self) -> None:
        """Close files after a failure."""
        for shard in self._open.values():
            shard.writer.abandon()
        for fd, future in self._pending:
            if future.cancel():  # else it runs or has run, and closes the file itself
                os.close(fd)

    def _begin(self, position: Index4) -> _OpenShard:
        path = f"{self.root}/{self.key}/{chunk_key(position)}"
        writer = ShardWriter(path, math.prod(self.layout.chunks_per_shard))
        return _OpenShard(writer, self.layout.chunks_in(position))

    def _finish(self, position: Index4) -> None:
        writer = self._open[position].writer
        fd = writer.finish()
        del self._open[position]  # only now: until then `abandon` must close its file
        entry = FileEntry(writer.size, writer.crc)
        self.record(f"{self.key}/{chunk_key(position)}", entry)
        self._pending.append((fd, self.disk.submit(_settle, fd, entry, writer.path)))


def _settle(fd: int, entry: FileEntry, path: str) -> None:
    """Sync a finished shard, and read it back: its bytes must be those that were written."""
    try:
        os.fsync(fd)
        seen = file_entry(FileBlob(fd, 0, entry.size))
        if seen != entry:
            raise ArchiveError(
                f"{path} reads back with crc32c {seen.crc32c:08x} where {entry.crc32c:08x} was "
                "written: suspect the disk or the memory of this machine",
                code="VERIFY_FAILED",
                path=path,
            )
    finally:
        os.close(fd)


def _bits(chunk: NDArray) -> NDArray:
    raw = chunk.reshape(-1).view(np.uint8)
    return raw.view(np.uint64) if raw.size % 8 == 0 else raw
