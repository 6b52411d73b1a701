"""Replacing a catalogue: its content is read before the lock is taken.

Reading the manifests and journals of 10^5 archives takes minutes, and no other process should have
to wait for that. If the catalogue has changed when the lock is taken, the content is read again.
Nothing locks a bucket. There the store refuses the new catalogue if the one that it is to replace
was replaced meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from voxarray.cohort.folder import CohortLayout
from voxarray.core.errors import ArchiveError
from voxarray.storage.remote.address import is_url
from voxarray.storage.small_files import (
    Put,
    create_file,
    put_in_place_of,
    side_by_side,
    version_of,
    write_if_other,
)
from voxarray.storage.swap_lock import swap_lock

if TYPE_CHECKING:
    from voxarray.storage.remote.objects import Stamp

Read = TypeVar("Read")
Written = TypeVar("Written")

_ATTEMPTS = 3
"""How often content is read without the lock; after that, it is read once more with the lock."""

_ATTEMPTS_IN_BUCKET = 20


class _OvertakenError(Exception):
    """Another process has replaced the catalogue in the bucket."""


def version_in_bucket(folder: CohortLayout) -> Stamp | None:
    """Which catalogue is there now; None if there is none, and on a disk."""
    return version_of(folder.catalogue) if is_url(folder.root) else None


def replace_catalogue(
    folder: CohortLayout,
    read: Callable[[], Read],
    write: Callable[[Read, Put], Written],
    seen: tuple[Stamp | None] | None = None,
) -> Written:
    """Read the content of a catalogue, and write it if the catalogue did not change meanwhile.

    Args:
        folder: Of the cohort.
        read: May take long; called again if the catalogue was replaced meanwhile, by a process that
            added label maps or finalised.
        write: Called with the last content, and with what puts the bytes of the catalogue and of
            other files of the cohort in their place. On a disk it is called once, while the lock of
            the catalogue is held; in a bucket again if another process was quicker.
        seen: Which catalogue was there some time ago, if it was asked for; see `version_in_bucket`.

    Raises:
        ArchiveError: If somebody else has held the lock for two minutes, or was quicker each time
            (``BUSY``).
    """
    if is_url(folder.root):
        return _replace_in_bucket(folder, read, write, seen)
    for _ in range(_ATTEMPTS):
        before = _version(folder)
        content = read()
        with _held(folder):
            if _version(folder) == before:
                return write(content, write_if_other)
    with _held(folder):
        return write(read(), write_if_other)


def _replace_in_bucket(
    folder: CohortLayout,
    read: Callable[[], Read],
    write: Callable[[Read, Put], Written],
    seen: tuple[Stamp | None] | None,
) -> Written:
    from voxarray.storage.remote.objects import forget  # not loaded for a cohort on a disk

    for _ in range(_ATTEMPTS_IN_BUCKET):
        forget()  # what is read must not be older than the catalogue
        if seen is None:
            before = version_of(folder.catalogue)
            content = read()
        else:
            # Of a catalogue that was there before anything is read, it may be asked meanwhile
            # whether it is there still.
            (before,), seen = seen, None
            content, current = side_by_side(folder.root, read, lambda: version_of(folder.catalogue))
            if current != before:
                continue

        def put(path: str, data: bytes, before: Stamp | None = before) -> None:
            if path != folder.catalogue:
                # With the first catalogue, other files are mostly the first ones, too.
                if before is not None or not create_file(path, data):
                    write_if_other(path, data)
            elif not put_in_place_of(path, data, before):
                raise _OvertakenError

        with suppress(_OvertakenError):
            return write(content, put)
    raise ArchiveError(
        f"other processes replaced {folder.catalogue} {_ATTEMPTS_IN_BUCKET} times while this "
        "process made it: run voxarray finalise when they are done",
        code="BUSY",
        path=folder.catalogue,
    )


def _version(folder: CohortLayout) -> tuple[int, int, int] | None:
    """Inode, time and size of the catalogue, which change if it is replaced; None without one."""
    try:
        status = os.stat(folder.catalogue)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


@contextmanager
def _held(folder: CohortLayout) -> Iterator[None]:
    """Hold the lock of the catalogue.

    There is none for a first catalogue, nor for one that this user may not write.
    """
    with ExitStack() as stack:
        if _version(folder) is not None and os.access(folder.catalogue, os.W_OK):
            # A link is followed, as when it is written. If the catalogue was deleted just now, the
            # next one is a first one.
            with suppress(FileNotFoundError):
                stack.enter_context(swap_lock(os.path.realpath(folder.catalogue)))
        yield
