"""Reading chunks over a network: few requests, many at once, and a cache of chunks on disk."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.archive import joined_requests
from voxarray.archive.accelerated import Box
from voxarray.archive.codecs import Codec
from voxarray.archive.joined_requests import Extent
from voxarray.archive.kept_box import KeptBox
from voxarray.archive.kept_chunks import Kept, KeptChunks
from voxarray.archive.read_ahead import ByAnother, Named, read_ahead
from voxarray.archive.read_jobs import Chunks, Job, needed, share
from voxarray.archive.remote_requests import Request, by_shard, chunk_name, claimed, place
from voxarray.archive.shard import ShardHandle
from voxarray.core import memory, settings, thread_pools
from voxarray.core.error_messages import MAKE_AGAIN
from voxarray.core.errors import TruncatedError, VoxarrayError
from voxarray.geometry.layout import Index4, Layout
from voxarray.storage.buffers import scratch
from voxarray.storage.chunk_cache import ChunkCache, chunk_cache, group_of
from voxarray.storage.remote.arrivals import Arrivals
from voxarray.storage.remote.request_slots import RESERVED
from voxarray.storage.store import Blob, Store

_BYTE = np.dtype(np.uint8)


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
        at_hand: The shard at a position if it is open.
        named: Adds the position of the chunk to an error.
    """

    store: Store
    opened: Hashable
    key: str
    layout: Layout
    dtype: np.dtype
    codec: Codec
    shard: Callable[[Index4], ShardHandle]
    at_hand: Callable[[Index4], ShardHandle | None]
    named: Callable[[Exception, Index4, Index4], VoxarrayError]

    def share(self, jobs: Sequence[Job], work: Callable[[Chunks], None]) -> None:
        """Do some work with the chunks of jobs, in several threads."""
        cache = chunk_cache()
        found = None if cache is None else self._found(jobs, cache)
        left = jobs if cache is None or found is None else self._share_kept(found, cache, work)
        if left:
            self._share_requests(left, cache, work)

    def kept_box(self, box: Box, jobs: Sequence[Job]) -> KeptBox | None:
        """A box whose chunks are all in the cache, for compiled loops; None if not all are.

        Args:
            box: The box, with shards of one chunk.
            jobs: Its chunks.
        """
        cache = chunk_cache()
        found = None if cache is None else self._found(jobs, cache)
        return None if cache is None or found is None else KeptBox(cache, box, found)

    def _found(self, jobs: Sequence[Job], cache: ChunkCache) -> list[Kept] | None:
        """The chunks of jobs if all are in the cache."""
        positions = dict.fromkeys((n.shard, z.shard, y.shard, x.shard) for n, z, y, x in jobs)
        shards = {
            position: (shard, group_of(self.opened, self.key, position))
            for position, shard in zip(positions, self._opened(positions), strict=True)
        }
        return self._kept(cache).found(jobs, shards)

    def _kept(self, cache: ChunkCache) -> KeptChunks:
        return KeptChunks(cache, self.layout, self.dtype, self.codec)

    def _share_kept(
        self, found: Sequence[Kept], cache: ChunkCache, work: Callable[[Chunks], None]
    ) -> list[Job]:
        """Do the work with chunks of the cache; returns the jobs of those that are gone."""
        kept, left = self._kept(cache), list[Job]()
        threads = min(settings.threads(), len(found))
        # Reading a few blocks takes less time than starting another thread.
        if threads == 1 or kept.are_few(found):
            work(kept.chunks(found, left))
        else:
            share(found, threads, thread_pools.pool(), lambda some: work(kept.chunks(some, left)))
        return left

    def _share_requests(
        self, jobs: Sequence[Job], cache: ChunkCache | None, work: Callable[[Chunks], None]
    ) -> None:
        """Do the work with chunks of which some have to be asked for."""
        at_once, ahead = self.store.requests or 1, read_ahead()
        all_requests = self._requests(jobs, cache)

        own: dict[str, Future[None]] = {}
        arrivals = None

        def work_on(answers_left: Iterable[Answer]) -> None:
            try:
                work(self._chunks(answers_left, cache, own))
            except BaseException:
                # At once: other threads of this read may wait for those of the pool that wait for
                # these chunks.
                ahead.let_go(own)
                raise

        try:
            if cache is not None and any(not one.is_here for one in all_requests):
                ahead.misses += 1  # a lost update between threads costs nothing
                all_requests = claimed(all_requests, cache.largest, own)
            remote_requests = [request for request in all_requests if request.is_remote]
            if remote_requests:
                arrivals = self.store.arrivals([request.part for request in remote_requests])
            # Without arrivals, this transport reads in one thread per request.
            waits = bool(remote_requests) and arrivals is None
            pool = thread_pools.pool(at_once) if waits else thread_pools.pool()
            threads = at_once if waits else settings.threads()
            answers = _Answers(all_requests, remote_requests, arrivals)
            share(answers, min(threads, len(all_requests)), pool, work_on)
        finally:
            if arrivals is not None:
                arrivals.close()
            if own:
                ahead.let_go(own)

    def fetch_ahead(self, jobs: Sequence[Job], most: int) -> int:
        """Fetch the chunks of jobs into the cache, in the background.

        Nothing is fetched if there is no cache, or the transport cannot do it.

        Args:
            jobs: What will be read soon.
            most: Bytes; more are not fetched.

        Returns:
            Bytes that are fetched now.

        Raises:
            VoxarrayError: If the index of a shard cannot be read.
        """
        cache, at_once, ahead = chunk_cache(), self.store.requests or 1, read_ahead()
        room = memory.ahead_limit()
        if cache is None or cache.folder == ahead.refused_by:
            return 0
        if at_once <= RESERVED or memory.is_pressed():
            return 0
        wanted: list[tuple[tuple[Blob, int, int], list[Named]]] = []
        for position, shard_jobs in by_shard(jobs).items():
            shard = self.shard(position)
            group = group_of(self.opened, self.key, position)
            extents: list[Extent[Job]] = []
            for job in shard_jobs:
                offset, length = place(shard, job)
                # A chunk of which the cache takes no copy would come twice.
                if offset < 0 or length > min(room, cache.largest):
                    continue
                name = chunk_name(group, offset, length)
                if not (ahead.is_under_way(name) or cache.holds(name)):
                    extents.append(Extent(job, offset, length))
            for joined in joined_requests.joined(
                extents, most=min(room, joined_requests.LARGEST_REQUEST)
            ):
                chunks = [
                    Named(chunk_name(group, one.offset, one.length), one.offset, one.length)
                    for one in joined
                ]
                start, last = joined[0].offset, joined[-1]
                wanted.append(((shard.blob, start, last.offset + last.length - start), chunks))
        size = sum(part[2] for part, _ in wanted)
        parts = self.store.remote_parts([part for part, _ in wanted]) if wanted else None
        if parts is None or size > most:
            return 0
        asked = [(part, chunks) for part, (_, chunks) in zip(parts, wanted, strict=True)]
        ahead.fetch(cache, asked, at_once, room)
        return size

    def _requests(self, jobs: Sequence[Job], cache: ChunkCache | None) -> list[Request]:
        """The chunks by request: chunks that lie close to each other are read together."""
        shards, ahead = by_shard(jobs), read_ahead()
        found_requests: list[Request] = []
        for (position, shard_jobs), shard in zip(shards.items(), self._opened(shards), strict=True):
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
                    continue
                name = "" if cache is None else chunk_name(group, extent.offset, extent.length)
                # Asked in this order: what has just come is in the cache.
                coming = ahead.coming(name) if cache is not None else None
                if coming is not None:
                    found_requests.append(Request(position, shard, group, [extent], coming=coming))
                elif cache is not None and cache.holds(name):
                    found_requests.append(Request(position, shard, group, [extent], is_kept=True))
                else:
                    extents.append(extent)
            found_requests += [
                Request(position, shard, group, shard_jobs)
                for shard_jobs in joined_requests.joined(extents)
            ]
        return found_requests

    def _opened(self, positions: Iterable[Index4]) -> list[ShardHandle]:
        found = {position: self.at_hand(position) for position in positions}
        if all(found.values()):
            return [shard for shard in found.values() if shard is not None]
        first, *remaining = found
        pool = thread_pools.pool(self.store.requests)
        opening = [pool.submit(self.shard, position) for position in remaining]
        try:
            shard = self.shard(first)
        finally:
            wait(opening)
        return [shard, *(future.result() for future in opening)]

    def _chunks(
        self,
        answers: Iterable[Answer],
        cache: ChunkCache | None,
        own: Mapping[str, Future[None]],
    ) -> Chunks:
        """Each job with its chunk, valid until the next is asked for; None for background."""
        decoded = scratch("decoded", self.layout.chunk, self.dtype)
        for request, data in answers:
            if request.is_background:
                yield request.extents[0].key[0], None
                continue
            first = request.extents[0]
            job = first.key[0]
            try:
                if cache is not None and request.is_kept and self._is_kept(request, cache, decoded):
                    yield job, decoded
                    continue
                if request.coming is not None:
                    data = request.coming.chunk(first.offset, first.length)
                    # What has come is in the cache by now; what has not is read by this thread.
                    if (
                        data is None
                        and cache is not None
                        and self._is_kept(request, cache, decoded)
                    ):
                        yield job, decoded
                        continue
                is_kept = data is not None and request.coming is not None
                joined = self._bytes(request, data)
                for extent in request.extents:
                    job = extent.key[0]
                    encoded = joined[extent.offset - first.offset :][: extent.length]
                    # A copy, since decoding may change the bytes.
                    undecoded = b"" if cache is None or is_kept else encoded.tobytes()
                    self._decode(request, extent, encoded, decoded)
                    if cache is not None and not is_kept:
                        name = request.name(extent)
                        cache.put(name, undecoded)
                        if name in own:
                            read_ahead().let_go({name: own[name]})
                    yield job, decoded
            except (VoxarrayError, RuntimeError, ValueError) as error:
                n, z, y, x = (piece.chunk for piece in job)
                raise self.named(error, (n, z, y, x), request.position) from error

    def _is_kept(self, request: Request, cache: ChunkCache, out: NDArray) -> bool:
        """Decode a chunk from the cache; False if it is not there, or damaged."""
        extent = request.extents[0]
        job, slot = extent.key
        return self._kept(cache).decode(job, request.shard, slot, request.name(extent), out)

    def _bytes(self, request: Request, data: Any) -> NDArray[np.uint8]:
        """The bytes that arrived, or are read now, in memory that the next request reuses."""
        blob, start, length = request.part
        joined = scratch("encoded", (1, 1, 1, length), _BYTE).reshape(-1)
        if data is not None:
            joined[:] = np.frombuffer(data, np.uint8)
        elif blob.read_into(start, joined) != length:
            raise TruncatedError(
                "the shard ends inside the chunk: the archive is damaged here; restore it, or "
                f"{MAKE_AGAIN}"
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
        self.codec.decode(
            encoded, out, *needed(job, self.dtype), None if crcs is None else crcs[slot]
        )


class _Answers:
    """Requests with their bytes, as these arrive; several threads may take from it."""

    def __init__(
        self,
        all_requests: Sequence[Request],
        remote_requests: Sequence[Request],
        arrivals: Arrivals | None,
    ) -> None:
        waiting = arrivals is not None
        here = [request for request in all_requests if not (request.is_remote and waiting)]
        self._here = iter([one for one in here if not isinstance(one.coming, ByAnother)])
        # Last, see `ReadAhead.claim`.
        self._last = iter([one for one in here if isinstance(one.coming, ByAnother)])
        self._away, self._arrivals = remote_requests, arrivals

    def __iter__(self) -> Iterator[Answer]:
        return self

    def __next__(self) -> Answer:
        for request in self._here:
            return request, None
        if self._arrivals is not None:
            with suppress(StopIteration):
                number, data = next(self._arrivals)
                return self._away[number], data
        return next(self._last), None
