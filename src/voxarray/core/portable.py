"""Calls of Unix that other systems lack, with what stands in for them there.

Reading at an offset is the one that matters: Windows has neither ``pread`` nor ``preadv``. There
the position of the descriptor is moved and put to use under a lock, one read at a time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

CLOEXEC = getattr(os, "O_CLOEXEC", 0)
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""Without it a link in the place of a file of an archive is found by `os.lstat` alone."""

NONBLOCK = getattr(os, "O_NONBLOCK", 0)
BINARY = getattr(os, "O_BINARY", 0)
"""Windows would translate the ends of lines otherwise."""

_BUSY = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}

_moving = threading.Lock()


def may(path: str, mode: int) -> bool:
    """`os.access` of the user that opening would be judged by, which a program may have changed."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def try_lock(fd: int, *, exclusive: bool) -> bool | None:
    """Take the lock of a file, which is released when the file is closed.

    Args:
        fd: Descriptor; network file systems need one for writing.
        exclusive: Whether no other process may hold the lock, not even a shared one.

    Returns:
        True if it was taken, False if another process holds it, None if there are no locks here.

    Raises:
        OSError: For any other refusal.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _pread(fd: int, count: int, offset: int, /) -> bytes:
    with _moving:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, count)


def _preadv(fd: int, buffers: Sequence[Any], offset: int, /) -> int:
    done = 0
    for buffer in buffers:
        view = memoryview(buffer).cast("B")
        data = pread(fd, len(view), offset + done)
        view[: len(data)] = data
        done += len(data)
        if len(data) < len(view):
            break
    return done


def _pwrite(fd: int, data: Any, offset: int, /) -> int:
    with _moving:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, data)


pread = getattr(os, "pread", _pread)
"""`os.pread`, or the same by moving the position of the descriptor."""

preadv = getattr(os, "preadv", _preadv)
"""`os.preadv`, or the same by single reads; macOS has it from 11 on."""

pwrite = getattr(os, "pwrite", _pwrite)
"""`os.pwrite`, or the same by moving the position of the descriptor."""


def syncfs(fd: int, /) -> None:
    """Make all that was written to the file system of a descriptor survive a power loss.

    Failed writes since the descriptor was opened are errors from Linux 5.8 on; see
    `has_syncfs`.

    Raises:
        OSError: What the disk refused.
    """
    if _syncfs()(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@lru_cache(maxsize=1)
def has_syncfs() -> bool:
    """Whether there is a `syncfs` that tells of writes that failed."""
    release = re.match(r"(\d+)\.(\d+)", os.uname().release) if hasattr(os, "uname") else None
    if release is None or os.uname().sysname != "Linux":
        return False
    return (int(release[1]), int(release[2])) >= (5, 8) and _syncfs() is not None


@lru_cache(maxsize=1)
def _syncfs() -> Any:
    return of_c_library("syncfs")


def user_id() -> int:
    """Number of the user; 0 where files do not say whose they are."""
    uid: int = os.geteuid() if hasattr(os, "geteuid") else 0
    return uid


@lru_cache(maxsize=8)  # to look for one takes 0.1 ms, and each archive is renamed once
def of_c_library(name: str) -> Any:
    """A function of the C library that this process is linked with; None where there is none."""
    try:
        return getattr(ctypes.CDLL(None, use_errno=True), name, None)
    except (OSError, TypeError):  # Windows has no library without a name
        return None
