"""Names in a folder that a run makes by the hundred, and syncs together.

After each rename the folder is synced, so that a power loss does not take a name that somebody was
told of. Nobody is told of a small image before its batch has ended, and the next one syncs the
whole file system before it gets its own name. So the last of a batch is the only one for whose name
the disk has to be waited for: 0.07 ms of processor time and a wait, of an image that takes 4.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from voxarray.core.disk import sync
from voxarray.core.errors import ArchiveError
from voxarray.storage.remote.address import is_url

_lock = threading.Lock()


@dataclass(slots=True)
class _Names:
    """Those of one folder.

    Attributes:
        users: Who will sync it.
        waiting: Whether a name is new, and perhaps not on disk.
        refused: What the disk said when it was to sync them; it may say so only once.
        syncing: Held by who syncs: nobody leaves before the names that are made are on disk.
    """

    users: int = 0
    waiting: bool = False
    refused: OSError | None = None
    syncing: threading.Lock = field(default_factory=threading.Lock)

    def sync_new(self, folder: str) -> None:
        """Sync the folder, unless no name is new."""
        with self.syncing:
            with _lock:  # a name that comes later waits for another sync
                is_waiting, self.waiting = self.waiting, False
            if is_waiting and self.refused is None:
                try:
                    sync(folder)
                except OSError as error:
                    self.refused = error
            if self.refused is not None:
                raise ArchiveError(
                    f"archives in {folder} are complete and have their final names, but the folder "
                    f"cannot be synced ({self.refused}). After a power loss some of them may be "
                    "missing: run the same command again then",
                    code="NOT_SYNCED",
                    path=folder,
                ) from self.refused


_folders: dict[str, _Names] = {}


def sync_later(folder: str) -> bool:
    """Note that a name in a folder is new; whether it will be synced before anybody is told."""
    with _lock:
        names = _folders.get(folder)
        if names is None:
            return False
        names.waiting = True
        return True


@contextmanager
def names_synced_together(folder: str) -> Iterator[None]:
    """Let new names in a folder be synced when the body ends; nobody may be told of them before.

    Args:
        folder: Absolute path; of a URL nothing is to be synced.

    Raises:
        ArchiveError: If the disk refuses (``NOT_SYNCED``); the names are there.
    """
    if is_url(folder):
        yield
        return
    with _lock:
        names = _folders.setdefault(folder, _Names())
        names.users += 1
    try:
        yield
    finally:
        try:
            names.sync_new(folder)
        finally:
            with _lock:
                names.users -= 1
                # In the child of a fork there are others, or none.
                if not names.users and _folders.get(folder) is names:
                    del _folders[folder]


def _forget_parents() -> None:
    """The child of a fork syncs what it makes itself."""
    global _lock
    _lock = threading.Lock()
    _folders.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)
