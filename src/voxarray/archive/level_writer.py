"""One pyramid level on its way to disk: chunks come in, whole verified shards come out."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from voxarray.archive.codecs import Codec
from voxarray.archive.documents import chunk_key
from voxarray.archive.manifest import FileEntry
from voxarray.archive.shard import ShardIndex, ShardWriter
from voxarray.errors import ArchiveError
from voxarray.layout import Index4, Layout


@dataclass(frozen=True, slots=True)
class Encoded:
    """A chunk as it goes to disk.

    Attributes:
        index: Position in the array.
        data: Encoded bytes; None for background.
        crc: crc32c of the voxels, for reading back.
    """

    index: Index4
    data: bytes | None
    crc: int


@dataclass(slots=True)
class _OpenShard:
    writer: ShardWriter
    missing: int
    crcs: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class LevelWriter:
    """Writes the chunks of one array into its shards; used by one thread, but for `encode`.

    Attributes:
        root: Folder of the archive under construction.
        key: Folder of the array in it.
        layout: Shape, chunks, shards.
        dtype: Stored type.
        codec: Of the chunks.
        disk: Where files are synced and closed, which waits.
        cpu: Where finished shards are read back.
        record: Called with key and entry of every finished shard.
    """

    root: str
    key: str
    layout: Layout
    dtype: np.dtype
    codec: Codec
    disk: Executor
    cpu: Executor
    record: Callable[[str, FileEntry], None]
    _open: dict[Index4, _OpenShard] = field(default_factory=dict)
    _pending: list[tuple[int, Future[None]]] = field(default_factory=list)

    def encode(self, index: Index4, block: NDArray) -> Encoded:
        """Encode the voxels of one chunk (n, z, y, x), at most its shape; for worker threads."""
        if block.shape == self.layout.chunk:
            chunk = np.ascontiguousarray(block, self.dtype)
        else:
            chunk = np.zeros(self.layout.chunk, self.dtype)
            chunk[tuple(slice(0, n) for n in block.shape)] = block
        raw = chunk.reshape(-1).view(np.uint8)
        # Bits, not values: -0.0 equals zero and is not the same voxel.
        background = not raw.view(np.uint64 if raw.size % 8 == 0 else np.uint8).any()
        data = None if background else self.codec.encode(chunk)
        return Encoded(index, data, _crc(chunk))

    def append(self, encoded: Encoded) -> None:
        """Put an encoded chunk into its shard, and finish the shard with its last chunk."""
        position = self.layout.shard_of(encoded.index)
        shard = self._open.get(position)
        if shard is None:
            shard = self._open[position] = self._begin(position)
        slot = self.layout.slot(encoded.index)
        if encoded.data is not None:
            shard.writer.append(slot, encoded.data)
        shard.crcs[slot] = encoded.crc
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
        shard = self._open.pop(position)
        fd = shard.writer.finish()
        key = f"{self.key}/{chunk_key(position)}"
        self.record(key, FileEntry(shard.writer.size, shard.writer.crc))
        checked = self.cpu.submit(self._read_back, fd, shard)
        self._pending.append((fd, self.disk.submit(_sync_and_close, fd, checked)))

    def _read_back(self, fd: int, shard: _OpenShard) -> None:
        """Decode the shard as readers will and compare it with the voxels that came in."""
        path = shard.writer.path
        index = ShardIndex.read(fd, 0, shard.writer.size, shard.writer.slots, path)
        chunk = np.empty(self.layout.chunk, self.dtype)
        empty = _crc(np.zeros(self.layout.chunk, self.dtype))
        for slot, expected in shard.crcs.items():
            offset, length = index.offsets[slot], index.lengths[slot]
            crc = empty
            if offset >= 0:
                self.codec.decode(os.pread(fd, length, offset), chunk)
                crc = _crc(chunk)
            if crc != expected:
                raise ArchiveError(
                    f"chunk {slot} of {path} does not read back as it was written: suspect the "
                    "disk or the memory of this machine",
                    code="VERIFY_FAILED",
                    path=path,
                )


def _sync_and_close(fd: int, checked: Future[None]) -> None:
    try:
        os.fsync(fd)
    finally:
        try:
            checked.result()
        finally:
            os.close(fd)


def _crc(chunk: NDArray) -> int:
    view = chunk.view()
    view.flags.writeable = False  # google_crc32c reads such an array in place
    crc: int = google_crc32c.value(view)
    return crc
