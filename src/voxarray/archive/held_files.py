"""Files of an archive that stay in memory until all of it is written to disk.

Small files cost by their number: each needs a lookup in its folder, a descriptor, and a wait for
the disk to survive a power loss. So they are written together, at the end. An image of a few MiB is
held in memory completely, with its voxels, and then one call syncs all of its files.
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
        """All files, which are no longer held here."""
        taken, self._data = self._data, {}
        return taken

    def write(self, root: str, entries: Mapping[str, FileEntry]) -> list[str]:
        """Write all files below a folder, and read back those that hold voxels.

        Args:
            root: The folder, which is there.
            entries: Size and digest of each file.

        Returns:
            Keys of the files.

        Raises:
            ArchiveError: If a shard reads back otherwise; ``VERIFY_FAILED``.
            OSError: What the disk refuses.
        """
        files = self.take()
        for folder in folders_of(files):
            with suppress(FileExistsError):
                os.mkdir(f"{root}/{folder}")  # not makedirs: it would recreate a root that was lost
        for key, data in files.items():
            path = f"{root}/{key}"
            write_new(path, data)
            if entries[key].tail is not None:
                fd = os.open(path, os.O_RDONLY | portable.CLOEXEC | portable.BINARY)
                ShardSync(fd, path, syncs=False).finish(entries[key])
        return list(files)


def folders_of(keys: Iterable[str]) -> tuple[str, ...]:
    """Folders that hold files, each after its parent."""
    return _folders_of(tuple(keys))


@lru_cache(maxsize=8)  # small archives of a cohort have the same keys
def _folders_of(keys: tuple[str, ...]) -> tuple[str, ...]:
    folders = set[str]()
    for key in keys:
        while (key := key.rpartition("/")[0]) and key not in folders:
            folders.add(key)
    return tuple(sorted(folders))


@dataclass(slots=True)
class FolderSync:
    """Makes files and folders below a folder survive a power loss.

    Few large files are synced one by one: a call for the whole file system would also wait for what
    other processes write. For a small archive, one call for the file system costs less than one for
    each of twenty names. To be created before the files are written, since the kernel reports write
    errors only to descriptors that were open when they occurred.

    Attributes:
        root: The folder.
        as_one: Whether one call is to sync all, where the system has such a call.
    """

    root: str
    as_one: bool
    _fd: int = field(default=-1, init=False)

    def __post_init__(self) -> None:
        if self.as_one and is_synced_as_one(self.root):
            # If the folder cannot be opened, files are synced one by one.
            with suppress(PermissionError):
                self._fd = os.open(self.root, os.O_RDONLY | portable.CLOEXEC)

    @property
    def is_one_call(self) -> bool:
        """Whether one call syncs the whole file system."""
        return self._fd >= 0

    def __enter__(self) -> FolderSync:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def sync(self, files: Sequence[str], folders: Sequence[str]) -> None:
        """Sync files, and the entries of the root and of folders.

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
