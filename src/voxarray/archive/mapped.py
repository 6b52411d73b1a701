"""Shards whose chunks are stored as they are, seen as memory: voxels go from the page cache to the
result in one copy.

Only shards of a published archive are mapped, which nobody changes in place; their size is checked
against the manifest first. A chunk is checked against its crc32c when it is touched first, not
each time, and again when as much was touched as caches may hold (`voxarray.memory.cache_limit`).
Touched pages are the kernel's cache, which it can take back at any time, but they count as
resident: every 64 MiB all are given back, and stay in that cache.
"""

from __future__ import annotations

import mmap
import os
import threading
import weakref

import numpy as np
from numpy.typing import NDArray

from voxarray import memory

_LOOK_AT_LIMIT = 16 << 20
"""Bytes to touch between looks at the limit, which asks the system."""

_RESIDENT_LIMIT = 64 << 20
"""Bytes to see before all pages are given back: a loader's worker promises 128 MiB in all."""

_lock = threading.Lock()
_touched = 0
_seen = 0
_open: weakref.WeakSet[MappedShard] = weakref.WeakSet()


class MappedShard:
    """The bytes of one shard, mapped read-only.

    Args:
        fd: The file, open; it may be closed afterwards.
        start: Offset of the shard in it.
        size: Bytes of the shard.
    """

    __slots__ = ("__weakref__", "_map", "bytes", "checked")

    def __init__(self, fd: int, start: int, size: int) -> None:
        before = start % mmap.ALLOCATIONGRANULARITY
        self._map = mmap.mmap(fd, before + size, access=mmap.ACCESS_READ, offset=start - before)
        self.bytes: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8, size, before)
        self.checked: set[int] = set()
        """Offsets of chunks that have been found intact since their pages came."""
        with _lock:
            _open.add(self)

    def note(self, offset: int, length: int) -> None:
        """Remember that the chunk at ``offset`` is intact; give pages back when they are many."""
        global _touched
        self.checked.add(offset)
        before = _touched
        _touched = before + length  # a lost update between threads costs nothing
        due = before // _LOOK_AT_LIMIT != _touched // _LOOK_AT_LIMIT
        if due and _touched > memory.cache_limit():
            give_back()

    def forget(self) -> None:
        """Let the kernel have the pages; they come back, and are checked, when they are touched."""
        self.checked.clear()
        self.drop()

    def drop(self) -> None:
        """Let the kernel have the pages; its cache keeps them."""
        if hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)


def see(size: int) -> None:
    """Say that so many bytes of mapped chunks are about to be read."""
    global _seen
    _seen += size  # a lost update between threads costs nothing
    if _seen > _RESIDENT_LIMIT:
        _seen = size
        with _lock:
            shards = list(_open)
        for shard in shards:
            shard.drop()


def give_back() -> None:
    """Give back all pages that this process has touched."""
    global _touched
    with _lock:
        _touched = 0
        shards = list(_open)
    for shard in shards:
        shard.forget()


def _renew_lock_in_child() -> None:
    # Another thread may have held the lock at the moment of the fork.
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock_in_child)
