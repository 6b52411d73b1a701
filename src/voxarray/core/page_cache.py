"""Pages of mapped files: the kernel's cache, which it can take back at any time, but which count as
resident memory of the process that touched them. So all are given back when they are many.

How many they are is asked of the system, for what becomes resident with a byte is the kernel's
choice: since Linux 6.18 all of the folio that the cache holds it in, up to 2 MiB, so that a patch
of 1 MiB in a plane of 1024 x 1024 made 96 MiB resident.
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
"""Bytes to touch between looks at what is resident; small budgets have less."""

FOLIO = 2 << 20
"""Bytes that may become resident around those that are touched."""

_lock = threading.Lock()
_touched = 0
_beside = 0
"""Bytes of other files, libraries above all, that were resident when no page of ours was."""
_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def register(pages: mmap.mmap) -> mmap.mmap:
    """Let the pages of a read-only map be given back; for as long as the map lives."""
    global _beside
    with _lock:
        if not _maps:
            _beside = memory.resident_files()
        _maps.add(pages)
    return pages


def limit() -> int:
    """Bytes that may be resident of all maps; between two looks there may be `LOOK_EVERY` more."""
    return min(MOST_BYTES, memory.cache_limit())


def touch(size: int) -> None:
    """Say that pages of a registered map are about to be read.

    Args:
        size: Bytes that may become resident.
    """
    global _touched
    before = _touched
    _touched = after = before + size  # a lost update between threads costs nothing
    if before // LOOK_EVERY != after // LOOK_EVERY and _resident(after) > limit():
        _touched = size
        give_back()


def _resident(touched: int) -> int:
    """Bytes that are resident of all maps, or what was touched where the system does not tell."""
    global _beside
    files = memory.resident_files()
    _beside = min(_beside, files)
    return files - _beside if files else touched


def give_back() -> None:
    """Give back all pages; the kernel's cache keeps them, and they come when they are touched."""
    global _beside
    with _lock:
        maps = list(_maps)
    for pages in maps:
        if hasattr(pages, "madvise"):
            pages.madvise(mmap.MADV_DONTNEED)
    _beside = memory.resident_files()


def _renew_lock_in_child() -> None:
    # Another thread may have held the lock at the moment of the fork.
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock_in_child)
