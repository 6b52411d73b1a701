"""Which patches come next, and fetching what they need of remote archives meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from weakref import WeakMethod

from voxarray.archive.read_ahead import read_ahead
from voxarray.core import thread_pools
from voxarray.geometry.selection import Shape3
from voxarray.patches.reading import SubjectReader
from voxarray.storage.chunk_cache import chunk_cache

_LOG = logging.getLogger(__name__)

PATCHES_AHEAD = 16
"""Patches that are looked ahead."""

_SHARE = 8
"""Patches that are not read yet take up to this share of the cache."""

Place = tuple[int, Shape3]
"""Subject and first voxel of a patch."""

Next = tuple[int, Place | None, int]
"""Index of a patch that comes, its place if it is known, and how many of its remote images are read
right now."""


class Order:
    """In which order patches are asked for, from the last few questions.

    Known are indices one after another, in batches too, and those that are equally far apart, as
    of the workers of a loader. Any two have a distance: other than from one to the next, it counts
    when it occurs again.
    """

    def __init__(self) -> None:
        self._last: Sequence[int] = ()
        self._step, self._is_known = 0, False

    def see(self, indices: Sequence[int]) -> bool:
        """Take note of what is asked for now; says whether what comes next is known."""
        steps = {now - before for now, before in zip(indices, self._last, strict=False)}
        is_alike = len(indices) == len(self._last) and len(steps) == 1
        former, self._step = self._step, steps.pop() if is_alike else 0
        self._last = indices
        is_run = self._step == len(indices) == 1 or (len(indices) > 1 and _is_run(indices))
        self._is_known = self._step != 0 and (is_run or self._step == former)
        return self._is_known

    def upcoming(self, total: int) -> list[int]:
        """The indices that come next, at most `PATCHES_AHEAD`.

        Args:
            total: Patches that there are.
        """
        found: list[int] = []
        last = self._last
        while self._is_known and len(found) < PATCHES_AHEAD:
            last = [index + self._step for index in last]
            inside = [index for index in last if 0 <= index < total]
            found += inside
            if len(inside) < len(last):
                break
        return found[:PATCHES_AHEAD]


def _is_run(indices: Sequence[int]) -> bool:
    first = indices[0]
    return all(index == first + n for n, index in enumerate(indices))


class Foreseen:
    """Fetches chunks of the next patches into the cache while patches are read.

    It stops when everything is in the cache, until something is not.

    Args:
        place: Where the patch of an index is in an epoch; None if that is not at hand. A method
            of the object that has this one, which must not keep it in memory.
        reader: Of a subject that is open; None if it is not.
    """

    def __init__(
        self,
        place: Callable[[int, int], Place | None],
        reader: Callable[[int], SubjectReader | None],
    ) -> None:
        self._place, self._reader = WeakMethod(place), reader
        self._next: tuple[int, Sequence[Next], Shape3] = (0, (), (1, 1, 1))
        self._asked: dict[tuple[int, int], int] = {}
        self._misses, self._is_done = -1, False
        self._thread: object = None

    def follow(self, epoch: int, size: Shape3, upcoming: Callable[[], Sequence[Next]]) -> None:
        """Tell what comes next; called before patches are read.

        Args:
            epoch: Pass over the data.
            size: Voxels (W, H, D) of a patch.
            upcoming: The next patches, in their order; called if it is needed.
        """
        misses = read_ahead().misses
        if self._is_done and misses == self._misses:
            return
        self._misses, self._is_done = misses, False
        self._next = (epoch, upcoming(), size)
        thread = thread_pools.preparing_thread()
        if self._thread is not thread:  # else it is about to look, or was left in the parent
            self._thread = thread
            thread.submit(self._fetch)

    def _fetch(self) -> None:
        self._thread = None  # what is told from here on is a task of its own
        told = epoch, upcoming, size = self._next
        cache = chunk_cache()
        room = 0 if cache is None else cache.limit // _SHARE
        keys = {(epoch, index) for index, _, _ in upcoming}
        asked = {key: count for key, count in self._asked.items() if key in keys}
        for index, known, skipped in upcoming:
            if (epoch, index) in asked:
                continue
            left = room - sum(asked.values())
            if left <= 0 or self._next is not told:
                break
            asked[epoch, index] = self._fetch_one(epoch, index, known, skipped, size, left)
        self._asked = asked
        self._is_done = not any(asked.values())

    def _fetch_one(
        self, epoch: int, index: int, known: Place | None, skipped: int, size: Shape3, most: int
    ) -> int:
        """Bytes that are fetched for one patch."""
        try:
            find = self._place()
            place = known or (None if find is None else find(epoch, index))
            reader = None if place is None else self._reader(place[0])
            if place is None or reader is None:
                return 0
            return reader.fetch(place[1], size, most, skipped)
        except Exception as error:  # whoever reads it finds out by itself, and is told
            _LOG.debug("patch %d is not fetched ahead: %s", index, error)
            return 0
