"""Files of an archive that are in memory until all of it goes to disk.

Small files cost by their number: each takes a look into its folder, a descriptor, and for a power
loss a wait for the disk. So they are written together, when all are known; an image of a few MiB is
held whole, its voxels too, and then one call syncs all of its files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

from voxarray.archive.durability import ShardSync
from voxarray.archive.manifest import FileEntry
from voxarray.core import portable, thread_pools
from voxarray.core.disk import sync, write_new
from voxarray.core.mounts import is_synced_as_one

LARGEST = 4 << 20
"""Bytes of voxels of an image that is held whole until it is encoded."""


@dataclass(slots=True)
class HeldFiles:
    """Files that are not on disk yet, by key."""

    _data: dict[str, bytes] = field(default_factory=dict)

    def add(self, key: str, data: bytes) -> None:
        """Hold a file."""
        self._data[key] = data

    def take(self) -> dict[str, bytes]:
        """All files; from now on they are somebody else's."""
        taken, self._data = self._data, {}
        return taken

    def write(self, root: str, entries: Mapping[str, FileEntry]) -> list[str]:
        """Write all files below a folder, and read back those that hold voxels.

        Args:
            root: The folder, which is there.
            entries: What the files must be.

        Returns:
            Keys of the files.

        Raises:
            ArchiveError: If a shard reads back otherwise; ``VERIFY_FAILED``.
            OSError: What the disk refuses.
        """
        files = self.take()
        for folder in folders_of(files):
            with suppress(FileExistsError):
                os.mkdir(f"{root}/{folder}")  # not makedirs, which would make a lost root anew
        for key, data in files.items():
            path = f"{root}/{key}"
            write_new(path, data)
            if entries[key].tail is not None:
                fd = os.open(path, os.O_RDONLY | portable.CLOEXEC | portable.BINARY)
                ShardSync(fd, path, syncs=False).finish(entries[key])
        return list(files)


def folders_of(keys: Iterable[str]) -> tuple[str, ...]:
    """Folders in which files are, each after the one that it is in."""
    return _folders_of(tuple(keys))


@lru_cache(maxsize=8)  # those of one small archive are those of the next
def _folders_of(keys: tuple[str, ...]) -> tuple[str, ...]:
    found = set[str]()
    for key in keys:
        while (key := key.rpartition("/")[0]) and key not in found:
            found.add(key)
    return tuple(sorted(found))


@dataclass(slots=True)
class FolderSync:
    """Makes files and folders below a folder survive a power loss; made before they are written.

    Where files are few and large each is synced, for others of the file system may have much to
    write. For a small archive one call for the whole file system costs less than one for each of
    twenty names, where the system has it.

    Attributes:
        root: The folder.
        as_one: Whether one call is to sync all, where that is possible.
    """

    root: str
    as_one: bool
    _fd: int = field(default=-1, init=False)

    def __post_init__(self) -> None:
        if self.as_one and is_synced_as_one(self.root):
            # Failures are told to those who had the file system open when they occurred. Where a
            # folder cannot be opened, files are synced one by one.
            with suppress(PermissionError):
                self._fd = os.open(self.root, os.O_RDONLY | portable.CLOEXEC)

    @property
    def is_one_call(self) -> bool:
        """Whether one call syncs all that the file system has."""
        return self._fd >= 0

    def __enter__(self) -> FolderSync:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def sync(self, files: Sequence[str], folders: Sequence[str]) -> None:
        """Sync files, and the names in the root and in folders.

        Args:
            files: Below the root.
            folders: Below the root.

        Raises:
            OSError: What the disk refuses.
        """
        if self.is_one_call:
            portable.syncfs(self._fd)
        else:
            paths = [f"{self.root}/{key}" for key in (*files, *folders)]
            list(thread_pools.waiting_pool().map(sync, [*paths, self.root]))
