"""A file that is there as a whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from voxarray.core.disk import refusal, sync
from voxarray.core.errors import ArchiveExistsError, VoxarrayError


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
        sync(folder)
    except BaseException as error:
        if os.path.exists(partial):
            os.unlink(partial)
        if isinstance(error, OSError) and not isinstance(error, VoxarrayError):
            raise refusal(error, target) from error
        raise


@contextmanager
def whole_files(*paths: str | os.PathLike[str], overwrite: bool) -> Iterator[list[str]]:
    """Names to write files under, which take the places of ``paths``, in this order, on success.

    They are written in a hidden folder beside their destinations, under their own names (so that
    one may name another, and libraries see the suffix), synced, and renamed. The last one should
    be that without which nobody looks for the others.

    Raises:
        ArchiveExistsError: One of the files is there already, and ``overwrite`` is False.
        ArchiveError: The disk refused something (``NO_SPACE`` or ``IO_ERROR``).
    """
    targets = [os.path.abspath(path) for path in paths]
    folder, name = os.path.split(targets[-1])
    hidden = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.partial")
    partials = [os.path.join(hidden, os.path.basename(target)) for target in targets]
    try:
        for target in targets:
            _refuse_existing(target, overwrite)
        os.mkdir(hidden)
        yield partials
        for partial, target in zip(partials, targets, strict=True):
            sync(partial)
            _refuse_existing(target, overwrite)  # it may have appeared meanwhile
            os.replace(partial, target)
        sync(folder)
    except OSError as error:
        if isinstance(error, VoxarrayError):
            raise
        raise refusal(error, targets[-1]) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def write_if_other(path: str, data: bytes) -> None:
    """Put a small file in its place in one step, unless one of the same bytes is there.

    Raises:
        ArchiveError: The disk refused something (``NO_SPACE`` or ``IO_ERROR``).
    """
    try:
        with open(path, "rb") as file:
            if file.read() == data:
                return
    except FileNotFoundError:
        pass
    except OSError as error:
        raise refusal(error, path) from error
    with whole_file(path, overwrite=True) as file:
        file.write(data)


def _refuse_existing(target: str, overwrite: bool) -> None:
    if os.path.lexists(target) and not overwrite:
        raise ArchiveExistsError(
            f"{target} exists already: choose another name, or overwrite=True", path=target
        )
