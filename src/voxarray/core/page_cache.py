"""Pages of mapped files: the kernel's cache, which it can take back at any time, but which count as
resident memory of the process that touched them. So all are given back when they are many.
"""

from __future__ import annotations

import mmap
import os
import threading
import weakref

from voxarray.core import memory

MOST_BYTES = 64 << 20
"""What may be resident of all maps: a loader's worker promises 128 MiB in all."""

LOOK_EVERY = 16 << 20
"""Bytes to touch between looks at the limit, which asks the system; small budgets have less."""

_lock = threading.Lock()
_touched = 0
_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def register(pages: mmap.mmap) -> mmap.mmap:
    """Let the pages of a read-only map be given back; for as long as the map lives."""
    with _lock:
        _maps.add(pages)
    return pages


def touch(size: int) -> None:
    """Say that so many bytes of a registered map are about to be read."""
    global _touched
    before = _touched
    _touched = after = before + size  # a lost update between threads costs nothing
    due = before // LOOK_EVERY != after // LOOK_EVERY
    if due and after > min(MOST_BYTES, memory.cache_limit()):
        _touched = size
        give_back()


def give_back() -> None:
    """Give back all pages; the kernel's cache keeps them, and they come when they are touched."""
    with _lock:
        maps = list(_maps)
    for pages in maps:
        if hasattr(pages, "madvise"):
            pages.madvise(mmap.MADV_DONTNEED)


def _renew_lock_in_child() -> None:
    # Another thread may have held the lock at the moment of the fork.
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock_in_child)
