"""Hidden folders that a run uses again: one for each thread, not one for each image.

To make a folder and lock it, and to delete both, is eight changes of the file system: 0.15 ms of an
image that takes 4. A folder that is empty again gets the name of what is built next, in one step.
Its lock is held all the time, so that whoever looks sees at any moment whose it is, and what for.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from voxarray.storage.folder_lock import LOCK, FolderLock

_lock = threading.Lock()


@dataclass(slots=True)
class SpareFolders:
    """Locked folders of this process in one place, for several threads.

    Attributes:
        users: Those who want folders there to be used again.
    """

    users: int = 0
    _idle: list[FolderLock] = field(default_factory=list)
    _all: list[FolderLock] = field(default_factory=list)

    def take(self, path: str) -> FolderLock | None:
        """A folder that nobody uses, at another path in the same place; None if there is none."""
        while True:
            try:
                lock = self._idle.pop()
            except IndexError:  # also where another thread was quicker
                return None
            try:
                if lock.is_mine:
                    os.rename(lock.folder, path)
                    lock.folder = path
                    return lock
            except OSError:  # somebody has removed it, or the disk is full: that is said elsewhere
                lock.remove()

    def keep(self, lock: FolderLock) -> bool:
        """Keep a folder for later; False if something is left in it, or nobody wants it."""
        if not self.users or not _is_empty(lock.folder):
            return False
        if lock not in self._all:
            self._all = [other for other in self._all if other.is_mine] + [lock]
        self._idle.append(lock)
        return True

    def remove(self) -> None:
        """Delete all folders."""
        try:
            for lock in self._all:
                lock.remove()
        except BaseException:  # Ctrl-C: what was begun is ended before it is heard
            for lock in self._all:
                lock.remove()
            raise


_NONE = SpareFolders()
_by_folder: dict[str, SpareFolders] = {}


def spare_folders(folder: str) -> SpareFolders:
    """The folders inside `folder` that may be used again; none at all outside `folders_reused`."""
    return _by_folder.get(folder, _NONE)


@contextmanager
def folders_reused(folder: str) -> Iterator[None]:
    """Let hidden folders inside `folder` be used again until the body ends; then they are deleted.

    Args:
        folder: Absolute path of the folder that they are in.
    """
    with _lock:
        spares = _by_folder.setdefault(folder, SpareFolders())
        spares.users += 1
    try:
        yield
    finally:
        with _lock:
            spares.users -= 1
            if not spares.users:
                spares.remove()
                # In the child of a fork there is another one, or none.
                if _by_folder.get(folder) is spares:
                    del _by_folder[folder]


def _is_empty(folder: str) -> bool:
    try:
        return set(os.listdir(folder)) <= {LOCK}
    except OSError:
        return False


def _forget_parents() -> None:
    """The child of a fork has no folders; what it leaves alone, its parent removes."""
    global _lock
    _lock = threading.Lock()
    _by_folder.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)
