"""A file without a name until it is whole, where the system has such files (Linux, most disks).

However its process ends before, nothing is left: no hidden folder, and no lock that tells whose it
is. A few network file systems have none, and neither does a system without ``/proc``.
"""

from __future__ import annotations

import os

from voxarray.core.portable import CLOEXEC

_UNNAMED = getattr(os, "O_TMPFILE", 0)
_DESCRIPTORS = "/proc/self/fd"


class NoUnnamedFileError(Exception):
    """The system refuses such a file, or its name: whoever writes otherwise learns whether it can.

    Systems say in many ways that they have none, and some of them that the disk is full.
    """


def unnamed_file(folder: str) -> int:
    """Descriptor of a new file in a folder, for reading and writing.

    Raises:
        NoUnnamedFileError: There are none here.
    """
    if not _UNNAMED:
        raise NoUnnamedFileError
    try:
        return os.open(folder, _UNNAMED | os.O_RDWR | CLOEXEC, 0o666)
    except OSError as error:
        raise NoUnnamedFileError from error


def give_name(fd: int, path: str) -> None:
    """Let an unnamed file appear at a path of the folder that it was made in.

    Raises:
        FileExistsError: Something is there, even if it appeared a moment ago.
        NoUnnamedFileError: The system cannot give it this name.
    """
    try:
        # Only where a folder is given, Python follows the link to the file.
        os.link(f"{_DESCRIPTORS}/{fd}", path, src_dir_fd=fd, follow_symlinks=True)
    except FileExistsError:
        raise
    except OSError as error:
        raise NoUnnamedFileError from error
