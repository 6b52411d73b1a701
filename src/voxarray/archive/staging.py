"""Building an archive out of sight and publishing it whole.

The archive grows in a hidden folder beside its destination, which belongs to the process that holds
its lock (see `voxarray.storage.folder_lock`)::

    .NAME.0123456789abcdef.staging/lock
    .NAME.0123456789abcdef.staging/archive/...

Only when every file is written, synced to disk and named by the manifest does one rename of
``archive`` make it visible; with ``overwrite`` the old archive is exchanged for the new one in the
same system call and deleted afterwards. Whatever interrupts this, the destination is the old
archive, or nothing, or the new one.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from voxarray.archive import manifest as manifests
from voxarray.archive.added_content import manifest_at
from voxarray.archive.exchange import changed_at_last, changes_held_up, was_changed
from voxarray.archive.held_files import FolderSync, HeldFiles, folders_of
from voxarray.archive.manifest import FileEntry, Manifest
from voxarray.archive.replaceable import require_replaceable
from voxarray.core.disk import refusal, remove_tree, sync, write_new
from voxarray.core.errors import ArchiveError, ArchiveExistsError, MissingDataError, VoxarrayError
from voxarray.core.portable import of_c_library
from voxarray.storage.atomic_write import followed, keep_mode
from voxarray.storage.destination import local_destination
from voxarray.storage.folder_lock import FolderLock, random_identity
from voxarray.storage.hidden_folders import (
    folders_made,
    hidden_folder,
    hidden_folders,
    hidden_name,
    remove_abandoned,
)
from voxarray.storage.hidden_names import REPLACED
from voxarray.storage.synced_names import sync_later

__all__ = [
    "Staging",
    "hidden_folders",
    "hidden_name",
    "publish",
    "refuse_existing",
    "remove_abandoned",
    "staging",
    "workspace",
]

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_LOG = logging.getLogger(__name__)
_NOT_SUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}
_ARCHIVE = "archive"


@dataclass(slots=True)
class Staging:
    """An archive under construction.

    Attributes:
        root: The directory that will be the archive; where all is held, from `settle` on.
        destination: Where it will appear.
        files: Entries of the files written so far.
        lock: Of the hidden folder that it is in; None of a folder that nobody else can find.
        holds: Whether shards stay in memory too, and no file is on disk before all are.
        before: Manifest of the archive in a folder that is to be replaced, when this was begun.
        is_synced_as_one: Whether one call synced all, and whatever else the file system had.
    """

    root: str
    destination: str
    files: dict[str, FileEntry] = field(default_factory=dict)
    lock: FolderLock | None = None
    holds: bool = False
    before: Manifest | None = None
    is_synced_as_one: bool = False
    _held: HeldFiles = field(default_factory=HeldFiles)

    def write(self, key: str, data: bytes) -> None:
        """Add a small file, which is on disk when all are settled."""
        self.hold(key, data, FileEntry.of(data))

    def hold(self, key: str, data: bytes, entry: FileEntry) -> None:
        """Add a file of which the entry is known, which is on disk when all are settled."""
        self.files[key] = entry
        self._held.add(key, data)

    def record(self, key: str, entry: FileEntry) -> None:
        """Note a file that somebody else has written and synced."""
        self.files[key] = entry

    def seal(self, source: Mapping[str, Any]) -> None:
        """Settle everything and write the manifest: from now on the archive is whole.

        Raises:
            ArchiveError: If somebody has removed the folder (``STAGING_LOST``).
        """
        manifest = Manifest(self.files, source).to_bytes()
        if self.holds:  # nothing is on disk yet, and one call syncs all
            self._settle(manifest)
            return
        self._settle()
        # Last, when all that it names is on disk: what a power loss leaves without a manifest, no
        # reader takes for an archive.
        path = f"{self.root}/{manifests.KEY}"
        write_new(path, manifest)
        sync(path)
        sync(self.root)

    def settle(self) -> None:
        """Write and sync everything, and look whether every file is there as it was written.

        Raises:
            ArchiveError: If somebody has removed the folder (``STAGING_LOST``), or a file.
        """
        self._settle()

    def members(self, source: Mapping[str, Any]) -> dict[str, bytes]:
        """All files of an archive that is held, its manifest the last; they are no longer here.

        Raises:
            ArchiveError: If somebody has removed the folder (``STAGING_LOST``).
        """
        self._require_folder()
        return {**self._held.take(), manifests.KEY: Manifest(self.files, source).to_bytes()}

    def _settle(self, manifest: bytes | None = None) -> None:
        self._require_folder()
        if self.holds:
            with suppress(FileExistsError):
                os.mkdir(self.root)
        with FolderSync(self.root, as_one=self.holds) as disk:
            written = self._held.write(self.root, self.files)
            # Sizes alone: the bytes of shards were compared while they were synced.
            for key in self.files.keys() - written:
                self._require(key)
            if manifest is not None:
                write_new(f"{self.root}/{manifests.KEY}", manifest)
                written.append(manifests.KEY)
            disk.sync(written, folders_of(self.files))
            self.is_synced_as_one = disk.is_one_call

    def _require_folder(self) -> None:
        if self.lock is not None and not self.lock.is_there:
            raise _lost(self.lock.folder, self.destination)  # what came later made it anew

    def _require(self, key: str) -> None:
        """Raise `MissingDataError` unless a file is still there, as long as it was."""
        try:
            size = os.stat(f"{self.root}/{key}", follow_symlinks=False).st_size
        except FileNotFoundError:
            size = -1
        if size != self.files[key].size:
            seen = "is gone" if size < 0 else f"has {size} bytes"
            raise MissingDataError(
                f"{key} {seen}, but {self.files[key].size} bytes were written into {self.root}: "
                "another process deleted or changed it while the archive was made; convert again",
                path=self.destination,
            )


@contextmanager
def staging(
    destination: str | os.PathLike[str],
    overwrite: bool,
    folder: str | None = None,
    *,
    holds: bool = False,
) -> Iterator[Staging]:
    """A staging directory for an archive at ``destination``; removed unless it was published.

    Args:
        destination: Where the archive will be; a link is followed.
        overwrite: Whether something may be there already.
        folder: Of the same file system, in which to build it; by default that of the destination.
        holds: Whether all of it stays in memory until it is complete.

    Raises:
        ArchiveExistsError: If the destination exists and ``overwrite`` is False.
        ArchiveError: With code ``NO_SPACE`` or ``IO_ERROR`` for what the disk refuses.
    """
    target = followed(local_destination(destination))
    refuse_existing(target, overwrite)
    place = None if folder is None else os.path.abspath(folder)
    with workspace(target, place, holds=holds) as area:
        if overwrite and os.path.isdir(target):
            area.before = manifest_at(target)
        yield area


@contextmanager
def workspace(target: str, folder: str | None = None, *, holds: bool = False) -> Iterator[Staging]:
    """A hidden folder of this process beside a path, to build there what will be put in its place.

    Args:
        target: Absolute path of what is made, or made anew.
        folder: Of the same file system, instead of the one that it is in.
        holds: Whether all of it stays in memory until it is complete.

    Raises:
        ArchiveError: With code ``NO_SPACE`` or ``IO_ERROR`` for what the disk refuses.
    """
    parent, name = os.path.split(target)
    place = parent if folder is None else folder
    try:
        with folders_made(parent, place):
            if os.stat(place).st_dev != os.stat(parent).st_dev:  # a link led to another disk
                place = parent
            with hidden_folder(place, name) as lock, _named_if_lost(lock, target):
                root = os.path.join(lock.folder, _ARCHIVE)
                if not holds:
                    os.mkdir(root)
                yield Staging(root, target, lock=lock, holds=holds)
    except VoxarrayError:
        raise  # some of ours are OSErrors too
    except OSError as error:
        raise refusal(error, target) from error


@contextmanager
def _named_if_lost(lock: FolderLock, destination: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, VoxarrayError) or not lock.is_mine or lock.is_there:
            raise
        raise _lost(lock.folder, destination) from error


def _lost(folder: str, destination: str) -> ArchiveError:
    return ArchiveError(
        f"{folder}, in which {destination} was being written, was removed by another process, "
        "and nothing was changed at the destination: try again, and use voxarray clean only while "
        "nobody converts there",
        code="STAGING_LOST",
        path=destination,
    )


def publish(
    staged: str,
    destination: str,
    overwrite: bool,
    confirm: Callable[[], None] = lambda: None,
    *,
    later: bool = False,
) -> None:
    """Rename a finished directory or file to its destination and sync the folder it is in.

    Args:
        staged: What was made.
        destination: Where it is to be.
        overwrite: Whether something may be there.
        confirm: Called when only the rename is left, and nobody adds to what is there any more;
            what it raises prevents the rename.
        later: Whether who makes many, one soon after the other, may sync the names of new ones
            together; see `voxarray.storage.synced_names`.

    Raises:
        ArchiveExistsError: If something is there and ``overwrite`` is False, even if it appeared
            a moment ago; ``CONTENT_ADDED`` if what is there was changed in that moment.
    """
    # Only a guess at what is there: should it come or go before the rename, the kernel refuses, for
    # either flag looks and acts in one step.
    flags = _RENAME_EXCHANGE if overwrite and os.path.lexists(destination) else _RENAME_NOREPLACE
    with changes_held_up(destination) as seen:
        confirm()
        # Before the rename: nobody may see it for a moment with the rights of the hidden folder.
        keep_mode(staged, destination)
        try:
            _renameat2(staged, destination, flags)
        except FileExistsError:
            refuse_existing(destination, overwrite)
            raise
        if was_changed(staged, seen):
            _renameat2(staged, destination, _RENAME_EXCHANGE)
            raise changed_at_last(destination)
    folder = os.path.dirname(destination)
    try:
        # What replaces another is synced at once, for the other is deleted.
        if not (later and flags == _RENAME_NOREPLACE and sync_later(folder)):
            sync(folder)
    except OSError as error:
        raise ArchiveError(
            f"{destination} is complete and has its final name, but its parent folder cannot be "
            f"synced ({error}). After a power loss the archive may be missing: check then",
            code="NOT_SYNCED",
            path=destination,
        ) from error
    _LOG.info("published %r", destination)
    # Not before the folder is synced: a power loss may still undo the exchange, and then what is
    # deleted here would be the archive.
    _delete(staged)  # after an exchange, what was at the destination


def refuse_existing(destination: str, overwrite: bool) -> None:
    """Raise `ArchiveExistsError` if there is something that may not be replaced."""
    if not os.path.lexists(destination):
        return
    if not overwrite:
        raise ArchiveExistsError(
            f"{destination} exists already: choose another name, or pass overwrite=True "
            "(--overwrite), which keeps the old one until the new one is verified",
            path=destination,
        )
    require_replaceable(destination)


def _delete(path: str) -> None:
    """Remove a directory or file, if it is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        remove_tree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _renameat2(source: str, destination: str, flags: int) -> None:
    """Linux's rename that either refuses to replace, or exchanges.

    Where the file system cannot (some network file systems), the steps are done one by one; then
    a crash between the two renames of an exchange leaves the old archive beside the destination
    under a hidden name that ends in ``.replaced``, which ``voxarray clean --unlocked`` puts back.
    """
    rename = of_c_library("renameat2")
    if rename is not None:
        arguments = _AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(destination), flags
        if rename(*arguments) == 0:
            return
        number = ctypes.get_errno()
        if number not in _NOT_SUPPORTED:
            raise OSError(number, os.strerror(number), destination)
    if flags == _RENAME_NOREPLACE:
        # Two steps, the best that there is here: POSIX has no rename that refuses to replace.
        if os.path.lexists(destination):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), destination)
        os.rename(source, destination)
        return
    parent, name = os.path.split(destination)
    # By this name `clean` finds it: killed after the next line, nothing is at the destination.
    replaced = os.path.join(parent, f".{name}.{random_identity()}{REPLACED}")
    os.rename(destination, replaced)
    os.rename(source, destination)
    os.rename(replaced, source)
