"""Taking the place of a catalogue: what takes long is read before its lock is taken.

Reading the manifests and journals of 10^5 archives takes minutes, for which nobody else should have
to wait. Whoever finds, with the lock in hand, that the catalogue has changed since reads again.
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
"""Readings without the lock; who is overtaken each time has it for one more."""


def replace_catalogue(
    folder: CohortLayout, read: Callable[[], Read], write: Callable[[Read], Written]
) -> Written:
    """Read what a catalogue is made from, and write it as long as that is how things stand.

    Args:
        folder: Of the cohort.
        read: May take long; called again if the catalogue was replaced meanwhile, as those do who
            add label maps or finalise.
        write: Called once, with what was read last and with the lock of the catalogue.

    Raises:
        ArchiveError: If somebody else has held the lock for two minutes (``BUSY``).
    """
    for _ in range(_ATTEMPTS):
        before = _version(folder)
        found = read()
        with _held(folder):
            if _version(folder) == before:
                return write(found)
    with _held(folder):
        return write(read())


def _version(folder: CohortLayout) -> tuple[int, int, int] | None:
    """Tells the catalogue that is there from one that has taken its place."""
    try:
        status = os.stat(folder.catalogue)
    except OSError:  # there is none, or it is in a bucket
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


@contextmanager
def _held(folder: CohortLayout) -> Iterator[None]:
    """Nobody else replaces the catalogue meanwhile.

    A first one has nothing to lock, and one that may not be written is only replaced.
    """
    with ExitStack() as stack:
        if _version(folder) is not None and os.access(folder.catalogue, os.W_OK):
            # A link is followed, as by whoever writes it; one that has just gone is a first one.
            with suppress(FileNotFoundError):
                stack.enter_context(swap_lock(os.path.realpath(folder.catalogue)))
        yield
