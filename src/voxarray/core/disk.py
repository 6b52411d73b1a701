"""What the disk is asked to keep, and its refusals by name."""

from __future__ import annotations

import errno
import os

from voxarray.core.errors import ArchiveError


def sync(path: str) -> None:
    """Make the content of a file or the names in a directory survive a power loss."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def is_full(error: OSError) -> bool:
    """Whether the disk, or the user's share of it, has no room left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def refusal(error: OSError, destination: str) -> ArchiveError:
    """The error of the disk while something was written that is not in its place yet.

    Its code is ``NO_SPACE`` or ``IO_ERROR``.
    """
    advice = "make room" if is_full(error) else "check the folder and the disk"
    return ArchiveError(
        f"writing {destination} failed ({error}), and nothing was put in its place: {advice}, "
        "then run it again",
        code="NO_SPACE" if is_full(error) else "IO_ERROR",
        path=destination,
    )
