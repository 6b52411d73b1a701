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

MOST_BYTES = 80 << 20
"""What may be resident of all maps: a loader's worker promises 128 MiB in all."""

LEAST_BYTES = 16 << 20
"""What may be resident of all maps whatever the budget, so that something can be read."""

FOLIO = 2 << 20
"""Bytes that may become resident around those that are touched."""

_lock = threading.Lock()
_resident = 0
"""Bytes that may be resident of all maps: what was at the last look, and what was touched since."""
_allowed = 0
"""The limit at the last look, for it asks the system."""
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
    """Bytes that may be resident of all maps."""
    return max(LEAST_BYTES, min(MOST_BYTES, memory.cache_limit()))


def touch(size: int) -> None:
    """Say that pages of a registered map are about to be read; others go where they are too many.

    Args:
        size: Bytes that may become resident; more than `LEAST_BYTES` may exceed the limit.
    """
    global _resident, _allowed
    before = _resident
    after = before + size
    # Only where there may be too many it is looked at how many there are.
    if after > _allowed:
        _allowed = limit()
        after = _look(before) + size
        if after > _allowed:
            give_back()
            after = size
    _resident = after  # a lost update between threads costs what one of them touches, until a look


def _look(touched: int) -> int:
    """Bytes that are resident of all maps, or what was touched where the system does not tell."""
    global _beside
    files = memory.resident_files()
    _beside = min(_beside, files)
    return files - _beside if files else touched


def give_back_around(pages: mmap.mmap, start: int, size: int) -> None:
    """Give back the pages of some bytes of a map, and all that became resident with them.

    Args:
        pages: The map.
        start: The first of the bytes.
        size: How many they are.
    """
    first = max(0, start - FOLIO) // mmap.PAGESIZE * mmap.PAGESIZE
    pages.madvise(mmap.MADV_DONTNEED, first, min(len(pages), start + size + FOLIO) - first)


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
