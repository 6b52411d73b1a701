"""A lock on a file that is about to be replaced by a rename, without a lock file beside it.

Whoever holds the lock of what stands at the path has the right to put another file there. Who
waited for the lock of a file that was replaced meanwhile sees that the path leads elsewhere, and
takes the lock of what is there now.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from voxarray.core import portable
from voxarray.core.errors import ArchiveError
from voxarray.core.mounts import locks_are_seen_by_all

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PATIENCE = 120.0
"""Seconds after which a holder is taken for one that hangs: a swap takes milliseconds."""

_PAUSE = 0.002
_LONGEST_PAUSE = 0.05


@contextmanager
def swap_lock(path: str) -> Iterator[bool]:
    """Hold the lock of the file at a path, until the end or until it was replaced.

    Yields:
        Whether the lock excludes the processes of all machines. If not, as on file systems without
        locks, whoever swaps needs another step that only one can take.

    Raises:
        ArchiveError: If somebody else has held it for two minutes (``BUSY``).
        OSError: If the file is gone, or may not be written.
    """
    if fcntl is None:  # and a file that is open could not be replaced
        os.close(os.open(path, os.O_RDWR | portable.BINARY))
        yield False
        return
    began, pause = time.monotonic(), _PAUSE
    while True:
        # For writing: network file systems make of it a lock that others see only then.
        fd = os.open(path, os.O_RDWR | portable.CLOEXEC | portable.NOFOLLOW | portable.BINARY)
        try:
            granted = portable.try_lock(fd, exclusive=True)
            if granted is not False and _is_there(fd, path):
                yield granted is True and locks_are_seen_by_all(path)
                return
        finally:
            _unlock(fd)
            os.close(fd)
        if granted is False:
            if time.monotonic() - began > _PATIENCE:
                raise ArchiveError(
                    f"another process has been changing {path} for {_PATIENCE:.0f} s: check "
                    "whether that process hangs; if so, end it, then try again",
                    code="BUSY",
                    path=path,
                )
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


def _unlock(fd: int) -> None:
    """Give the lock back; a process that was forked meanwhile has the descriptor, too."""
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_UN)


def _is_there(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False
