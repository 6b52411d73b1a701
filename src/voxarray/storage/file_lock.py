"""Taking the advisory lock of an open file (flock) without waiting, where the system has one."""

from __future__ import annotations

import errno

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_BUSY = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


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
