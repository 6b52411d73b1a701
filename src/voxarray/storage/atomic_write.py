"""A file that is there as a whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from voxarray.core.disk import refusal, sync
from voxarray.core.errors import ArchiveExistsError, VoxarrayError
from voxarray.core.given_paths import absolute_path
from voxarray.storage.destination import local_destination
from voxarray.storage.file_identity import refuse_special
from voxarray.storage.hidden_folders import folders_made, hidden_folder


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of ``path`` on success and vanishes otherwise.

    It is written beside its destination, synced, and renamed: a reader sees the old file or the
    new one, also after a crash. As with a file that is opened for writing, missing folders apart,
    which are made: a link at the destination is followed, and the mode of the old file stays.

    Raises:
        ArchiveExistsError: There is a file already, and ``overwrite`` is False.
        UnsupportedError: A device, a pipe or a socket is there (``NOT_A_FILE``).
        ArchiveError: The disk refused something (``NO_SPACE`` or ``IO_ERROR``).
    """
    with atomic_writes(path, overwrite=overwrite) as (partial,), open(partial, "xb") as file:
        yield file


@contextmanager
def atomic_writes(*paths: str | os.PathLike[str], overwrite: bool) -> Iterator[list[str]]:
    """Names to write files under, which take the places of ``paths``, in this order, on success.

    They are written in a hidden folder beside their destinations, under their own names (so that
    one may name another, and libraries see the suffix), synced, and renamed. The last one should
    be that without which nobody looks for the others. Links and modes are as in `atomic_write`.

    Raises:
        ArchiveExistsError: One of the files is there already, and ``overwrite`` is False.
        UnsupportedError: A device, a pipe or a socket is there (``NOT_A_FILE``).
        ArchiveError: The disk refused something (``NO_SPACE`` or ``IO_ERROR``).
    """
    names = [os.path.abspath(local_destination(path)) for path in paths]
    targets = [followed(name) for name in names]
    folder = os.path.dirname(targets[-1])
    try:
        for name in names:
            _refuse_existing(name, overwrite)
        with (
            folders_made(folder),
            hidden_folder(folder, os.path.basename(targets[-1])) as lock,
        ):
            partials = [os.path.join(lock.folder, os.path.basename(name)) for name in names]
            yield partials
            for partial, target in zip(partials, targets, strict=True):
                # The mode first: the sync covers it, and no name leads to other rights.
                keep_mode(partial, target)
                sync(partial)
            for name in names:
                _refuse_existing(name, overwrite)  # it may have appeared meanwhile
            # Nothing that takes time, or that a disk may refuse, comes between these: new voxels
            # under an old header would be read as another image.
            for partial, target in zip(partials, targets, strict=True):
                os.replace(partial, target)
            # A rename is on disk only when its folder is.
            for changed in {os.path.dirname(target) for target in targets}:
                sync(changed)
    except OSError as error:
        if isinstance(error, VoxarrayError):
            raise
        raise refusal(error, names[-1]) from error


def followed(path: str | os.PathLike[str]) -> str:
    """Absolute path of a destination; of what it leads to, if it is a link."""
    absolute = absolute_path(path)
    return os.path.realpath(absolute) if os.path.islink(absolute) else absolute


def keep_mode(partial: str, target: str) -> None:
    """Give a file or folder the mode of what it replaces, and its group where that is allowed."""
    try:
        old, new = os.stat(target), os.stat(partial)
    except FileNotFoundError:
        return
    if stat.S_IFMT(old.st_mode) != stat.S_IFMT(new.st_mode):
        return  # a folder that takes the place of a file must be one that can be entered
    if new.st_gid != old.st_gid and hasattr(os, "chown"):
        with suppress(OSError):
            os.chown(partial, -1, old.st_gid)
    os.chmod(partial, stat.S_IMODE(old.st_mode))


def _refuse_existing(target: str, overwrite: bool) -> None:
    try:
        mode = os.stat(target).st_mode
    except OSError:  # there is none, or writing tells what is wrong
        return
    if stat.S_ISDIR(mode):
        raise ArchiveExistsError(
            f"{target} is a folder: choose another name, or delete it yourself",
            code="IS_FOLDER",
            path=target,
        )
    refuse_special(target, mode)
    if not overwrite:
        raise ArchiveExistsError(
            f"{target} exists already: choose another name, or pass overwrite=True (--overwrite)",
            path=target,
        )
