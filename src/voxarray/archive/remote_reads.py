"""Reading chunks over a network: few requests, many at once, and a cache of chunks on disk."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.archive import checked_blocks, requests
from voxarray.archive.checked_blocks import CheckedBlocks, is_small
from voxarray.archive.codecs import CRC_BYTES, Codec
from voxarray.archive.read_jobs import Chunks, Job, share
from voxarray.archive.requests import Extent
from voxarray.archive.shard import ShardHandle
from voxarray.core import settings, thread_pools
from voxarray.core.errors import TruncatedError, VoxarrayError
from voxarray.geometry.layout import Index4, Layout
from voxarray.storage.buffers import scratch
from voxarray.storage.chunk_cache import ChunkCache, chunk_cache, group_of
from voxarray.storage.remote.arrivals import Arrivals
from voxarray.storage.store import Blob, FileBlob, Store

_BYTE = np.dtype(np.uint8)


@dataclass(frozen=True, slots=True)
class Request:
    """Chunks of a shard that are read by one request.

    Attributes:
        position: Of the shard.
        shard: The shard.
        group: Prefix of the names of its chunks in the cache.
        extents: The chunks, with their slots; that of a background chunk has a negative offset.
        is_kept: Whether it is one chunk, which is in the cache.
    """

    position: Index4
    shard: ShardHandle
    group: str
    extents: Sequence[Extent[tuple[Job, int]]]
    is_kept: bool = False

    @property
    def is_background(self) -> bool:
        """Whether there is nothing to read."""
        return self.extents[0].offset < 0

    @property
    def part(self) -> tuple[Blob, int, int]:
        """The bytes to read: blob, offset, length."""
        start, last = self.extents[0].offset, self.extents[-1]
        return self.shard.blob, start, last.offset + last.length - start

    def name(self, extent: Extent[tuple[Job, int]]) -> str:
        """Name of a chunk in the cache."""
        return _name(self.group, extent)


def _name(group: str, extent: Extent[tuple[Job, int]]) -> str:
    return f"{group}-{extent.offset}-{extent.length}"


Answer = tuple[Request, Any]
"""A request and the bytes that arrived; None if they have to be read."""


@dataclass(frozen=True, slots=True)
class RemoteRead:
    """Reads chunks of one array.

    Attributes:
        store: Where the archive lies.
        opened: Identity of the archive when it was opened.
        key: Folder of the array.
        layout: Shape, chunks, shards.
        dtype: Native byte order.
        codec: Of the chunks.
        shard: Opens the shard at a position.
        named: Adds the position of the chunk to an error.
    """

    store: Store
    opened: Hashable
    key: str
    layout: Layout
    dtype: np.dtype
    codec: Codec
    shard: Callable[[Index4], ShardHandle]
    named: Callable[[Exception, Index4, Index4], VoxarrayError]

    def share(self, jobs: Sequence[Job], work: Callable[[Chunks], None]) -> None:
        """Do some work with the chunks of jobs, in several threads."""
        cache, at_once = chunk_cache(), self.store.requests or 1
        all_requests = self._requests(jobs, cache)

        def work_on(answers_left: Iterable[Answer]) -> None:
            work(self._chunks(answers_left, cache))

        remote_requests = [
            request for request in all_requests if not (request.is_background or request.is_kept)
        ]
        arrivals = (
            self.store.arrivals([request.part for request in remote_requests])
            if remote_requests
            else None
        )
        if remote_requests and arrivals is None:  # this transport reads in one thread per request
            pool, threads = thread_pools.pool(at_once), at_once
        else:
            pool, threads = thread_pools.pool(), settings.threads()
        try:
            answers = _Answers(all_requests, remote_requests, arrivals)
            share(answers, min(threads, len(all_requests)), pool, work_on)
        finally:
            if arrivals is not None:
                arrivals.close()

    def _requests(self, jobs: Sequence[Job], cache: ChunkCache | None) -> list[Request]:
        """The chunks by request: chunks that lie close to each other are read together."""
        by_shard: dict[Index4, list[Job]] = {}
        for job in jobs:
            n, z, y, x = job
            by_shard.setdefault((n.shard, z.shard, y.shard, x.shard), []).append(job)
        found_requests: list[Request] = []
        for (position, shard_jobs), shard in zip(
            by_shard.items(), self._opened(by_shard), strict=True
        ):
            group = group_of(self.opened, self.key, position) if cache is not None else ""
            offsets, lengths = shard.index.offsets, shard.index.lengths
            extents: list[Extent[tuple[Job, int]]] = []
            for job in shard_jobs:
                n, z, y, x = (
                    job  # runs for each chunk of each patch: `sum` takes three times as long
                )
                slot = n.slot + z.slot + y.slot + x.slot
                extent = Extent((job, slot), offsets[slot], lengths[slot])
                if extent.offset < 0:
                    found_requests.append(Request(position, shard, group, [extent]))
                elif cache is not None and cache.holds(_name(group, extent)):
                    found_requests.append(Request(position, shard, group, [extent], is_kept=True))
                else:
                    extents.append(extent)
            found_requests += [
                Request(position, shard, group, shard_jobs)
                for shard_jobs in requests.joined(extents)
            ]
        return found_requests

    def _opened(self, positions: Iterable[Index4]) -> list[ShardHandle]:
        first, *remaining = positions
        pool = thread_pools.pool(self.store.requests)
        opening = [pool.submit(self.shard, position) for position in remaining]
        try:
            shard = self.shard(first)
        finally:
            wait(opening)
        return [shard, *(future.result() for future in opening)]

    def _chunks(self, answers: Iterable[Answer], cache: ChunkCache | None) -> Chunks:
        """Each job with its chunk, valid until the next is asked for; None for background."""
        decoded = scratch("decoded", self.layout.chunk, self.dtype)
        for request, data in answers:
            if request.is_background:
                yield request.extents[0].key[0], None
                continue
            first = request.extents[0]
            job = first.key[0]
            try:
                if cache is not None and request.is_kept:
                    if self._is_kept(request, cache, decoded):
                        yield job, decoded
                        continue
                    cache.drop(request.name(first))
                joined = self._bytes(request, data)
                for extent in request.extents:
                    job = extent.key[0]
                    encoded = joined[extent.offset - first.offset :][: extent.length]
                    # A copy, since decoding may change the bytes.
                    undecoded = b"" if cache is None else encoded.tobytes()
                    self._decode(request, extent, encoded, decoded)
                    if cache is not None:
                        cache.put(request.name(extent), undecoded)
                    yield job, decoded
            except (VoxarrayError, RuntimeError, ValueError) as error:
                n, z, y, x = (piece.chunk for piece in job)
                raise self.named(error, (n, z, y, x), request.position) from error

    def _is_kept(self, request: Request, cache: ChunkCache, out: NDArray) -> bool:
        """Decode a chunk from the cache; False if it is not there, or damaged."""
        extent = request.extents[0]
        file = cache.opened(request.name(extent))
        if file is None:
            return False
        try:
            return file.size == extent.length and self._decode_file(request, extent, file, out)
        except (VoxarrayError, RuntimeError, ValueError, OSError):
            return False
        finally:
            file.close()

    def _decode_file(
        self, request: Request, extent: Extent[tuple[Job, int]], file: FileBlob, out: NDArray
    ) -> bool:
        """Decode a chunk from its file in the cache: all of it, or the blocks that are needed."""
        job, slot = extent.key
        crcs, number = request.shard.index.crcs, request.shard.number
        begin, end = self._needed(job)
        flat = out.reshape(-1).view(np.uint8)
        has_blocks = crcs is not None and 0 < self.codec.block < flat.size
        is_part = has_blocks and is_small(begin, end, flat.size)
        blocks = checked_blocks.known(number, slot) if is_part else None
        if blocks is not None and blocks.read(file, 0, flat, begin, end):
            return True
        encoded = scratch("encoded", (1, 1, 1, extent.length), _BYTE).reshape(-1)
        if file.read_into(0, encoded) != extent.length:
            return False
        if is_part and crcs is not None and blocks is None:
            blocks = CheckedBlocks.of(encoded[:-CRC_BYTES], crcs[slot])
            if blocks is not None and blocks.decoded == flat.size:
                checked_blocks.keep(number, slot, blocks)
        self._decode(request, extent, encoded, out)
        return True

    def _bytes(self, request: Request, data: Any) -> NDArray[np.uint8]:
        """The bytes that arrived, or are read now, in memory that the next request reuses."""
        blob, start, length = request.part
        joined = scratch("encoded", (1, 1, 1, length), _BYTE).reshape(-1)
        if data is not None:
            joined[:] = np.frombuffer(data, np.uint8)
        elif blob.read_into(start, joined) != length:
            raise TruncatedError(
                "the shard ends inside the chunk: the archive is damaged here; restore it, or "
                "convert the source again with --overwrite (overwrite=True)"
            )
        return joined

    def _decode(
        self,
        request: Request,
        extent: Extent[tuple[Job, int]],
        encoded: NDArray[np.uint8],
        out: NDArray,
    ) -> None:
        job, slot = extent.key
        crcs = request.shard.index.crcs
        self.codec.decode(encoded, out, *self._needed(job), None if crcs is None else crcs[slot])

    def _needed(self, job: Job) -> tuple[int, int]:
        """The first byte of a decoded chunk that a job needs, and the one after the last."""
        (n, z, y, x), size = job, self.dtype.itemsize
        begin = n.begin + z.begin + y.begin + x.begin
        last = n.last + z.last + y.last + x.last
        return begin * size, (last + 1) * size


class _Answers:
    """Requests with their bytes, as these arrive; several threads may take from it."""

    def __init__(
        self,
        all_requests: Sequence[Request],
        remote_requests: Sequence[Request],
        arrivals: Arrivals | None,
    ) -> None:
        waiting = arrivals is not None
        self._here = iter(
            [
                request
                for request in all_requests
                if request.is_background or request.is_kept or not waiting
            ]
        )
        self._away, self._arrivals = remote_requests, arrivals

    def __iter__(self) -> Iterator[Answer]:
        return self

    def __next__(self) -> Answer:
        for request in self._here:
            return request, None
        if self._arrivals is None:
            raise StopIteration
        number, data = next(self._arrivals)
        return self._away[number], data
