"""What the disk is asked to keep, and its refusals by name."""

from __future__ import annotations

import errno
import os

from voxarray.core.errors import ArchiveError
from voxarray.core.portable import BINARY, CLOEXEC

_SYNCED = (os.O_RDWR if os.name == "nt" else os.O_RDONLY) | BINARY
"""Windows syncs only what is open for writing."""

_FULL = tuple(getattr(errno, name) for name in ("ENOSPC", "EDQUOT") if hasattr(errno, name))


def sync(path: str) -> None:
    """Make the content of a file or the names in a directory survive a power loss."""
    try:
        fd = os.open(path, _SYNCED)
    except PermissionError:
        if os.path.isdir(path) and os.access(path, os.R_OK):
            return  # Windows opens no folders, and keeps their names in a journal of its own
        raise
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_new(path: str, data: bytes) -> None:
    """Write a file that must not be there yet, in as few calls as the system takes.

    Raises:
        OSError: What the disk refuses, and FileExistsError.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | CLOEXEC | BINARY, 0o666)
    try:
        write_all(fd, data)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Write bytes to an open file.

    Raises:
        OSError: What the disk refuses.
    """
    written = os.write(fd, data)
    if written < len(data):  # a full disk may take a part before it refuses
        view = memoryview(data)[written:]
        while view:
            view = view[os.write(fd, view) :]


def remove_tree(folder: str) -> None:
    """Delete a folder and all that is in it, also where folders cannot be opened (Windows).

    Links in it go, what they lead to stays.
    """
    for root, folders, files in os.walk(folder, topdown=False):
        for name in files:
            os.unlink(os.path.join(root, name))
        for name in folders:
            path = os.path.join(root, name)
            os.unlink(path) if os.path.islink(path) else os.rmdir(path)
    os.rmdir(folder)


def is_full(error: OSError) -> bool:
    """Whether the disk, or the user's share of it, has no room left."""
    return error.errno in _FULL


def refusal(error: OSError, destination: str) -> ArchiveError:
    """The error of the disk while something was written that is not in its place yet.

    Its code is ``NO_SPACE`` or ``IO_ERROR``.
    """
    advice = "make room" if is_full(error) else "check the folder and the disk"
    if error.errno == errno.ENAMETOOLONG:
        advice = (
            "shorten the name, which is about 30 bytes longer while the file is being written (a "
            "letter takes up to four bytes)"
        )
    return ArchiveError(
        f"writing {destination} failed ({error}), and nothing was changed there: {advice}, "
        "then try again",
        code="NO_SPACE" if is_full(error) else "IO_ERROR",
        path=destination,
    )
