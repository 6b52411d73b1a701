"""What a read of a remote archive asks for: chunks by request, by shard, and by name."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

from voxarray.archive import joined_requests
from voxarray.archive.joined_requests import Extent
from voxarray.archive.read_ahead import ByAnother, Coming, read_ahead
from voxarray.archive.read_jobs import Job
from voxarray.archive.shard import ShardHandle
from voxarray.geometry.layout import Index4
from voxarray.storage.store import Blob


@dataclass(frozen=True, slots=True)
class Request:
    """Chunks of a shard that are read by one request.

    Attributes:
        position: Of the shard.
        shard: The shard.
        group: Prefix of the names of its chunks in the cache.
        extents: The chunks, with their slots; that of a background chunk has a negative offset.
        is_kept: Whether it is one chunk, which is in the cache.
        coming: Who fetches it, if it is one chunk that is on its way into the cache.
    """

    position: Index4
    shard: ShardHandle
    group: str
    extents: Sequence[Extent[tuple[Job, int]]]
    is_kept: bool = False
    coming: Coming | ByAnother | None = None

    @property
    def is_here(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.is_background or self.is_kept

    @property
    def is_remote(self) -> bool:
        """Whether it has to be asked for."""
        return self.coming is None and not self.is_here

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
        return chunk_name(self.group, extent.offset, extent.length)


def chunk_name(group: str, offset: int, length: int) -> str:
    """Name of a chunk in the cache."""
    return f"{group}-{offset}-{length}"


def claimed(
    all_requests: Sequence[Request], largest: int, own: dict[str, Future[None]]
) -> list[Request]:
    """Claim the chunks that this read fetches; returns its requests.

    Chunks for which another thread has asked meanwhile are waited for.

    Args:
        all_requests: What was found to be needed.
        largest: Bytes of the largest chunk that the cache takes: one that is larger cannot be had
            from another thread.
        own: Takes the chunks that are claimed, see `ReadAhead.claim`.
    """
    names = [
        one.name(extent)
        for one in all_requests
        if one.is_remote
        for extent in one.extents
        if extent.length <= largest
    ]
    others = read_ahead().claim(names, own)
    if not others:
        return list(all_requests)
    found: list[Request] = []
    for request in all_requests:
        if not request.is_remote:
            found.append(request)
            continue
        rest: list[Extent[tuple[Job, int]]] = []
        for extent in request.extents:
            coming = others.get(request.name(extent))
            if coming is None:
                rest.append(extent)
            else:
                found.append(replace(request, extents=[extent], coming=coming))
        found += [replace(request, extents=extents) for extents in joined_requests.joined(rest)]
    return found


def place(shard: ShardHandle, job: Job) -> tuple[int, int]:
    """Offset and bytes of a chunk in its shard."""
    n, z, y, x = job
    slot = n.slot + z.slot + y.slot + x.slot
    return shard.index.offsets[slot], shard.index.lengths[slot]


def by_shard(jobs: Sequence[Job]) -> dict[Index4, list[Job]]:
    """Jobs by the position of their shard."""
    found: dict[Index4, list[Job]] = {}
    for job in jobs:
        n, z, y, x = job
        found.setdefault((n.shard, z.shard, y.shard, x.shard), []).append(job)
    return found
