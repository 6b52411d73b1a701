"""Chunks of remote archives from the cache on this machine, read much as those of a local archive.

Where all chunks of a read are there, nothing is asked for and nothing is waited for. Each is opened
once and checked once; one that was evicted or damaged meanwhile is left to those who ask the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.archive import checked_blocks
from voxarray.archive.checked_blocks import decode_small, encoded_chunk, is_small
from voxarray.archive.codecs import Codec
from voxarray.archive.read_jobs import FEW, Chunks, Job, needed
from voxarray.archive.remote_requests import chunk_name
from voxarray.archive.shard import ShardHandle
from voxarray.core.errors import VoxarrayError
from voxarray.geometry.layout import Index4, Layout, chunk_bytes
from voxarray.storage.buffers import scratch
from voxarray.storage.chunk_cache import ChunkCache
from voxarray.storage.store import FileBlob

Kept = tuple[Job, ShardHandle, int, str]
"""A chunk that was found in the cache: its job, shard, slot and name; no name for background."""


@dataclass(frozen=True, slots=True)
class KeptChunks:
    """Reads chunks of one array from the cache.

    Attributes:
        cache: Where they are.
        layout: Shape, chunks, shards.
        dtype: Native byte order.
        codec: Of the chunks.
    """

    cache: ChunkCache
    layout: Layout
    dtype: np.dtype
    codec: Codec

    def found(
        self, jobs: Sequence[Job], shards: Mapping[Index4, tuple[ShardHandle, str]]
    ) -> list[Kept] | None:
        """The chunks of jobs, in their order; None if one of them is not in the cache.

        Args:
            jobs: What is read.
            shards: By position, the shard, and what begins the names of its chunks.
        """
        holds = self.cache.holds
        found: list[Kept] = []
        for job in jobs:
            n, z, y, x = job
            handle, group = shards[n.shard, z.shard, y.shard, x.shard]
            slot = n.slot + z.slot + y.slot + x.slot
            offset, name = handle.index.offsets[slot], ""
            if offset >= 0:
                name = chunk_name(group, offset, handle.index.lengths[slot])
                if not holds(name):
                    return None
            found.append((job, handle, slot, name))
        return found

    def chunks(self, found: Iterable[Kept], left: list[Job]) -> Chunks:
        """Each job with its chunk, valid until the next is asked for; None for background.

        Args:
            found: The chunks.
            left: Takes the jobs of chunks that are gone, or were damaged.
        """
        decoded = scratch("decoded", self.layout.chunk, self.dtype)
        for job, shard, slot, name in found:
            if not name:
                yield job, None
            elif self.decode(job, shard, slot, name, decoded):
                yield job, decoded
            else:
                left.append(job)

    def decode(self, job: Job, shard: ShardHandle, slot: int, name: str, out: NDArray) -> bool:
        """Decode what a job needs of a chunk; False if it is not in the cache.

        One that is damaged is deleted there.

        Args:
            job: Says what is needed.
            shard: In which the chunk is.
            slot: Of the chunk in its shard.
            name: Of the chunk in the cache.
            out: The whole chunk.
        """
        file = self.cache.opened(name)
        if file is None:
            return False
        is_whole = False
        try:
            if file.size == shard.index.lengths[slot]:
                self._decode_file(job, shard, slot, file, out)
                is_whole = True
        except (VoxarrayError, RuntimeError, ValueError, OSError):
            is_whole = False
        finally:
            file.close()
        if not is_whole:
            self.cache.drop(name)
        return is_whole

    def _decode_file(
        self, job: Job, shard: ShardHandle, slot: int, file: FileBlob, out: NDArray
    ) -> None:
        """Decode all of a chunk, or the blocks that are needed."""
        begin, end = needed(job, self.dtype)
        crcs, flat, place = shard.index.crcs, out.reshape(-1).view(np.uint8), (file, 0, file.size)
        has_blocks = 0 < self.codec.block < flat.size
        if crcs is not None and has_blocks and is_small(begin, end, flat.size):
            name = shard.number, slot
            decode_small(name, self.codec, place, crcs[slot], flat, (begin, end))
        else:
            crc = None if crcs is None else crcs[slot]
            self.codec.decode(encoded_chunk(place), flat, begin, end, crc)

    def are_few(self, found: Sequence[Kept]) -> bool:
        """Whether little is decoded, since the blocks that are needed can be read alone."""
        decoded = chunk_bytes(self.layout, self.dtype)
        return len(found) <= FEW and all(
            not name
            or (
                is_small(*needed(job, self.dtype), decoded)
                and checked_blocks.known(shard.number, slot) is not None
            )
            for job, shard, slot, name in found
        )
