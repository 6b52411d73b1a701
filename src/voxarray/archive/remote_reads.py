"""Reading chunks over a network: few requests, many at once, and what was read before from here."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.archive import requests
from voxarray.archive.codecs import Codec
from voxarray.archive.handle_cache import ShardHandle
from voxarray.archive.read_jobs import Chunks, Job, share
from voxarray.archive.requests import Extent
from voxarray.core import settings, thread_pools
from voxarray.core.errors import TruncatedError, VoxarrayError
from voxarray.geometry.layout import Index4, Layout
from voxarray.storage.buffers import scratch
from voxarray.storage.chunk_cache import ChunkCache, chunk_cache, group_of
from voxarray.storage.remote.arrivals import Arrivals
from voxarray.storage.store import Blob, Store

_BYTE = np.dtype(np.uint8)


@dataclass(frozen=True, slots=True)
class Request:
    """Chunks of a shard that are read at once.

    Attributes:
        position: Of the shard.
        shard: The shard.
        group: Begins the names that its chunks have in the cache.
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
        """What is read: blob, offset, length."""
        start, last = self.extents[0].offset, self.extents[-1]
        return self.shard.blob, start, last.offset + last.length - start

    def name(self, extent: Extent[tuple[Job, int]]) -> str:
        """Of a chunk in the cache."""
        return f"{self.group}-{extent.offset}-{extent.length}"


Answer = tuple[Request, Any]
"""A request and what came; None where nothing has."""


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
        named: Makes the error of a chunk in a shard, which says where it lies.
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
        asked = self._requests(jobs, cache)

        def work_on(todo: Iterable[Answer]) -> None:
            work(self._chunks(todo, cache))

        away = [one for one in asked if not (one.is_background or one.is_kept)]
        arrivals = self.store.arrivals([one.part for one in away]) if away else None
        if away and arrivals is None:  # by a transport that has nothing like it
            pool, threads = thread_pools.pool(at_once), at_once
        else:
            pool, threads = thread_pools.pool(), settings.threads()
        try:
            answers = _Answers(asked, away, arrivals)
            share(answers, min(threads, len(asked)), pool, work_on)
        finally:
            if arrivals is not None:
                arrivals.close()

    def _requests(self, jobs: Sequence[Job], cache: ChunkCache | None) -> list[Request]:
        """The chunks by request: what lies together is read together."""
        by_shard: dict[Index4, list[Job]] = {}
        for job in jobs:
            n, z, y, x = job
            by_shard.setdefault((n.shard, z.shard, y.shard, x.shard), []).append(job)
        found: list[Request] = []
        for (position, some), shard in zip(by_shard.items(), self._opened(by_shard), strict=True):
            group = group_of(self.opened, self.key, position) if cache is not None else ""
            offsets, lengths = shard.index.offsets, shard.index.lengths
            there: list[Extent[tuple[Job, int]]] = []
            for job in some:
                slot = sum(piece.slot for piece in job)
                one = Request(
                    position, shard, group, [Extent((job, slot), offsets[slot], lengths[slot])]
                )
                is_kept = cache is not None and cache.holds(one.name(one.extents[0]))
                if one.is_background:
                    found.append(one)
                elif is_kept:
                    found.append(Request(position, shard, group, one.extents, True))
                else:
                    there += one.extents
            found += [Request(position, shard, group, some) for some in requests.joined(there)]
        return found

    def _opened(self, positions: Iterable[Index4]) -> list[ShardHandle]:
        first, *others = positions
        pool = thread_pools.pool(self.store.requests)
        opening = [pool.submit(self.shard, position) for position in others]
        try:
            shard = self.shard(first)
        finally:
            wait(opening)
        return [shard, *(one.result() for one in opening)]

    def _chunks(self, todo: Iterable[Answer], cache: ChunkCache | None) -> Chunks:
        """Each job with its chunk, valid until the next is asked for; None for background."""
        scratched = scratch("decoded", self.layout.chunk, self.dtype)
        for request, data in todo:
            if request.is_background:
                yield request.extents[0].key[0], None
                continue
            first = request.extents[0]
            job = first.key[0]
            try:
                if cache is not None and request.is_kept:
                    if self._is_kept(request, cache, scratched):
                        yield job, scratched
                        continue
                    cache.drop(request.name(first))
                together = self._bytes(request, data)
                for one in request.extents:
                    job = one.key[0]
                    encoded = together[one.offset - first.offset :][: one.length]
                    whole = b"" if cache is None else encoded.tobytes()  # decoding may change it
                    self._decode(request, one, encoded, scratched)
                    if cache is not None:
                        cache.put(request.name(one), whole)
                    yield job, scratched
            except (VoxarrayError, RuntimeError, ValueError) as error:
                n, z, y, x = (piece.chunk for piece in job)
                raise self.named(error, (n, z, y, x), request.position) from error

    def _is_kept(self, request: Request, cache: ChunkCache, out: NDArray) -> bool:
        """Decode a chunk from the cache, if it is there and right."""
        one = request.extents[0]
        encoded = scratch("encoded", (1, 1, 1, one.length), _BYTE).reshape(-1)
        if not cache.read_into(request.name(one), encoded):
            return False
        try:
            self._decode(request, one, encoded, out)
        except (VoxarrayError, RuntimeError, ValueError):
            return False
        return True

    def _bytes(self, request: Request, data: Any) -> NDArray[np.uint8]:
        """What came, or what is asked for now, in memory that is used for the next one too."""
        blob, start, length = request.part
        together = scratch("encoded", (1, 1, 1, length), _BYTE).reshape(-1)
        if data is not None:
            together[:] = np.frombuffer(data, np.uint8)
        elif blob.read_into(start, together) != length:
            raise TruncatedError("the shard ends inside the chunk")
        return together

    def _decode(
        self,
        request: Request,
        one: Extent[tuple[Job, int]],
        encoded: NDArray[np.uint8],
        out: NDArray,
    ) -> None:
        job, slot = one.key
        crcs, size = request.shard.index.crcs, self.dtype.itemsize
        begin = sum(piece.begin for piece in job) * size
        end = (sum(piece.last for piece in job) + 1) * size
        self.codec.decode(encoded, out, begin, end, None if crcs is None else crcs[slot])


class _Answers:
    """Requests with what came, as it comes; several threads may take from one of these."""

    def __init__(
        self, asked: Sequence[Request], away: Sequence[Request], arrivals: Arrivals | None
    ) -> None:
        waiting = arrivals is not None
        self._here = iter([one for one in asked if one.is_background or one.is_kept or not waiting])
        self._away, self._arrivals = away, arrivals

    def __iter__(self) -> Iterator[Answer]:
        return self

    def __next__(self) -> Answer:
        for request in self._here:
            return request, None
        if self._arrivals is None:
            raise StopIteration
        number, data = next(self._arrivals)
        return self._away[number], data
