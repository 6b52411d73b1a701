"""A file that is there as a whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from voxarray.errors import ArchiveError, ArchiveExistsError, VoxarrayError


@contextmanager
def whole_file(path: str | os.PathLike[str], *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of ``path`` on success and vanishes otherwise.

    It is written beside its destination, synced, and renamed: a reader sees the old file or the
    new one, also after a crash.

    Raises:
        ArchiveExistsError: There is a file already, and ``overwrite`` is False.
        ArchiveError: The disk refused something (``NO_SPACE`` or ``IO_ERROR``).
    """
    target = os.path.abspath(path)
    folder, name = os.path.split(target)
    partial = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.partial")
    try:
        _refuse_existing(target, overwrite)
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _refuse_existing(target, overwrite)  # it may have appeared meanwhile
        os.replace(partial, target)
        _sync_folder(folder)
    except BaseException as error:
        if os.path.exists(partial):
            os.unlink(partial)
        if isinstance(error, OSError) and not isinstance(error, VoxarrayError):
            raise _named(error, target) from error
        raise


def _refuse_existing(target: str, overwrite: bool) -> None:
    if os.path.lexists(target) and not overwrite:
        raise ArchiveExistsError(
            f"{target} exists already: choose another name, or overwrite=True", path=target
        )


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _named(error: OSError, target: str) -> ArchiveError:
    no_space = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "make room and save it again" if no_space else "check the folder and the disk"
    return ArchiveError(
        f"writing {target} failed ({error}), nothing was changed: {advice}",
        code="NO_SPACE" if no_space else "IO_ERROR",
        path=target,
    )
