"""Replacing a catalogue: its content is read before the lock is taken.

Reading the manifests and journals of 10^5 archives takes minutes, and no other process should have
to wait for that. If the catalogue has changed when the lock is taken, the content is read again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

from voxarray.cohort.folder import CohortLayout
from voxarray.storage.swap_lock import swap_lock

Read = TypeVar("Read")
Written = TypeVar("Written")

_ATTEMPTS = 3
"""How often content is read without the lock; after that, it is read once more with the lock."""


def replace_catalogue(
    folder: CohortLayout, read: Callable[[], Read], write: Callable[[Read], Written]
) -> Written:
    """Read the content of a catalogue, and write it if the catalogue did not change meanwhile.

    Args:
        folder: Of the cohort.
        read: May take long; called again if the catalogue was replaced meanwhile, by a process that
            added label maps or finalised.
        write: Called once, with the last content, while the lock of the catalogue is held.

    Raises:
        ArchiveError: If somebody else has held the lock for two minutes (``BUSY``).
    """
    for _ in range(_ATTEMPTS):
        before = _version(folder)
        content = read()
        with _held(folder):
            if _version(folder) == before:
                return write(content)
    with _held(folder):
        return write(read())


def _version(folder: CohortLayout) -> tuple[int, int, int] | None:
    """Inode, time and size of the catalogue, which change if it is replaced; None without one."""
    try:
        status = os.stat(folder.catalogue)
    except OSError:  # there is none, or it is in a bucket
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
