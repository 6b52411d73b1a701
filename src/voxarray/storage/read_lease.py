"""Files as memory for as long as nobody may change them: small boxes without the gaps in between.

A mapped file that somebody truncates kills the process that touches it (SIGBUS), so files are read.
But reading copies the gaps between the rows of a patch, too, which takes more than twice as long as
copying its voxels from a map. Linux has read leases (``F_SETLEASE``): while one is held, whoever
opens the file for writing or truncates it waits until it is given back, which is after the copy, a
millisecond later. No lease is given for a file that is open for writing, or that another user owns
unless we may take leases, or where the file system has none (NFS): then it is read.

Two things remain that a map does worse than a read: a disk that fails under it, and a process that
is suspended in the middle of a copy for longer than the system lets writers wait (45 s).
"""

from __future__ import annotations

import mmap
import os
import signal
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from voxarray.core import page_cache

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

MOST_MAPS = 8
"""Files that stay mapped; a file that is deleted takes its space until it is mapped no more."""

_maps: OrderedDict[tuple[int, int, int], mmap.mmap] = OrderedDict()


@contextmanager
def mapped_under_read_lease(fd: int) -> Iterator[mmap.mmap | None]:
    """The bytes of an open file, which nobody changes in this block; None if that cannot be.

    Args:
        fd: Its descriptor, which nobody else uses meanwhile.
    """
    if not _take(fd):
        yield None
        return
    try:
        yield _mapped(fd)
    finally:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def _take(fd: int) -> bool:
    if not hasattr(fcntl, "F_SETLEASE") or not hasattr(mmap, "MADV_DONTNEED"):
        return False
    try:
        # Who waits for us is told of by a signal: one that is ignored unless somebody wants it,
        # in place of SIGIO, which would end the process.
        fcntl.fcntl(fd, _F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError:
        return False
    return True


_F_SETSIG = getattr(fcntl, "F_SETSIG", 10)


def _mapped(fd: int) -> mmap.mmap:
    """The whole file as memory; pages come when they are touched."""
    status = os.fstat(fd)
    key = status.st_dev, status.st_ino, status.st_size
    mapped = _maps.get(key)
    if mapped is None:
        # No other file gets this inode while the map holds it.
        pages = page_cache.register(mmap.mmap(fd, status.st_size, access=mmap.ACCESS_READ))
        mapped = _maps.setdefault(key, pages)
        # Dropped, not closed: an array of a reader may still lie on it.
        while len(_maps) > MOST_MAPS:
            _maps.popitem(last=False)
    return mapped
