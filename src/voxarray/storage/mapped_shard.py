"""Shards whose chunks are stored as they are, seen as memory: voxels go from the page cache to the
result in one copy.

Only shards of a published archive are mapped, which nobody should change in place; their size is
checked against the manifest first. A chunk is checked against its crc32c when it is touched first,
not each time, and again when as much was checked as caches may hold
(`voxarray.core.memory.cache_limit`), or when the times of its file have changed.
What of it is resident is bounded by `voxarray.core.page_cache`.
"""

from __future__ import annotations

import mmap
import os
import threading
import weakref

import numpy as np
from numpy.typing import NDArray

from voxarray.core import memory, page_cache

_LOOK_AT_LIMIT = 16 << 20
"""Bytes to check between looks at the limit, which asks the system."""

_lock = threading.Lock()
_checked_bytes = 0
_open: weakref.WeakSet[MappedShard] = weakref.WeakSet()


class MappedShard:
    """The bytes of one shard, mapped read-only.

    Args:
        fd: The file, open; it may be closed afterwards.
        start: Offset of the shard in it.
        size: Bytes of the shard.
    """

    __slots__ = ("__weakref__", "_times", "bytes", "checked")

    def __init__(self, fd: int, start: int, size: int) -> None:
        # A map begins at a page, and a shard in a zip begins anywhere.
        before = start % mmap.ALLOCATIONGRANULARITY
        pages = mmap.mmap(fd, before + size, access=mmap.ACCESS_READ, offset=start - before)
        self.bytes: NDArray[np.uint8] = np.frombuffer(
            page_cache.register(pages), np.uint8, size, before
        )
        self.checked: set[int] = set()
        """Offsets of chunks that have been found intact, and need not be checked again yet."""
        self._times: tuple[int, int, int] | None = None
        with _lock:
            _open.add(self)

    def look(self, path: str) -> None:
        """Check all chunks again if the file was written since the last look.

        Args:
            path: Of the file. If another file has its name now, chunks are checked once more.
        """
        try:
            status = os.stat(path)
        except OSError:
            return
        times = status.st_mtime_ns, status.st_ctime_ns, status.st_ino
        if times != self._times:
            # Another set: a thread that is checking a chunk now notes it in the old one. The times
            # come last: a thread that sees the new times must not find the old set.
            self.checked = set()
            self._times = times

    def note(self, checked: set[int], offset: int, length: int) -> None:
        """Remember that the chunk at ``offset`` is intact, unless that is long ago for many.

        Args:
            checked: The value of `checked` before the chunk was checked.
            offset: Of the chunk.
            length: Its bytes.
        """
        global _checked_bytes
        checked.add(offset)
        before = _checked_bytes
        _checked_bytes = before + length  # a lost update between threads costs nothing
        due = before // _LOOK_AT_LIMIT != _checked_bytes // _LOOK_AT_LIMIT
        if due and _checked_bytes > memory.cache_limit():
            forget()


def forget() -> None:
    """Check all chunks again when they are touched, as the disk has them unless its cache does."""
    global _checked_bytes
    with _lock:
        _checked_bytes = 0
        shards = list(_open)
    for shard in shards:
        shard.checked = set()
    page_cache.give_back()


def _renew_lock_in_child() -> None:
    # Another thread may have held the lock at the moment of the fork.
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock_in_child)
