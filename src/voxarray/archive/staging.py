"""Building an archive out of sight and publishing it whole.

The archive is built in a hidden folder beside its destination. The folder belongs to the process
that holds its lock (see `voxarray.storage.folder_lock`)::

    .NAME.0123456789abcdef.staging/lock
    .NAME.0123456789abcdef.staging/archive/...

When every file is written, synced to disk and named by the manifest, one rename of ``archive``
makes it visible; with ``overwrite``, one system call exchanges the old archive for the new one,
and the old one is deleted afterwards. Whenever this is interrupted, the destination is the old
archive, or nothing, or the new one.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from voxarray.archive import manifest as manifests
from voxarray.archive.added_content import manifest_at
from voxarray.archive.held_files import FolderSync, HeldFiles, folders_of
from voxarray.archive.manifest import FileEntry, Manifest
from voxarray.archive.replaceable import require_replaceable
from voxarray.archive.replacement import changed_at_last, changes_held_up, was_changed
from voxarray.core.disk import refusal, remove_tree, sync, write_new
from voxarray.core.error_messages import REPLACED_WITHOUT
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
from voxarray.storage.staging_names import REPLACED
from voxarray.storage.synced_names import sync_later

if TYPE_CHECKING:
    from voxarray.storage.remote.objects import Stamp

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
        root: The directory that will be the archive; with ``holds``, it exists from `settle` on.
        destination: Where it will appear.
        files: Entries of the files written so far.
        lock: Of the hidden folder that it is in; None if no other process knows the folder.
        holds: Whether shards stay in memory, too, so that no file is on disk before `settle`.
        before: Manifest of the archive that is to be replaced, as it was at the beginning.
        is_synced_as_one: Whether one call synced the whole file system.
        published: The manifest in a bucket, and the stamp of its object, if that is known.
    """

    root: str
    destination: str
    files: dict[str, FileEntry] = field(default_factory=dict)
    lock: FolderLock | None = None
    holds: bool = False
    before: Manifest | None = None
    is_synced_as_one: bool = False
    published: tuple[bytes, Stamp] | None = None
    _held: HeldFiles = field(default_factory=HeldFiles)

    def write(self, key: str, data: bytes) -> None:
        """Add a small file, which is written to disk by `settle`."""
        self.hold(key, data, FileEntry.of(data))

    def hold(self, key: str, data: bytes, entry: FileEntry) -> None:
        """Add a file with its entry; it is written to disk by `settle`."""
        self.files[key] = entry
        self._held.add(key, data)

    def record(self, key: str, entry: FileEntry) -> None:
        """Add the entry of a file that is written and synced already."""
        self.files[key] = entry

    def proceed(self) -> None:
        """Raise what was found out meanwhile, and would make further work vain.

        Raises:
            VoxarrayError: As whoever made this area says.
        """

    def seal(self, source: Mapping[str, Any]) -> None:
        """Settle everything and write the manifest, which completes the archive.

        Raises:
            ArchiveError: If somebody has removed the folder (``STAGING_LOST``).
        """
        manifest = Manifest(self.files, source).to_bytes()
        if self.holds:  # nothing is on disk yet, and one call syncs all
            self._settle(manifest)
            return
        self._settle()
        # The manifest is written last, when all files that it names are on disk. After a power
        # loss, a folder without a manifest is not taken for an archive.
        path = f"{self.root}/{manifests.KEY}"
        write_new(path, manifest)
        sync(path)
        sync(self.root)

    def settle(self) -> None:
        """Write and sync all files, and check that every file is there with its size.

        Raises:
            ArchiveError: If somebody has removed the folder (``STAGING_LOST``), or a file.
        """
        self._settle()

    def members(self, source: Mapping[str, Any]) -> dict[str, bytes]:
        """All files of an archive in memory, the manifest last; they are no longer held here.

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
            # Only sizes: the bytes of shards were compared while they were synced.
            for key in self.files.keys() - written:
                self._require(key)
            if manifest is not None:
                write_new(f"{self.root}/{manifests.KEY}", manifest)
                written.append(manifests.KEY)
            disk.sync(written, folders_of(self.files))
            self.is_synced_as_one = disk.is_one_call

    def _require_folder(self) -> None:
        if self.lock is not None and not self.lock.is_there:
            # Checked first: writing would recreate the folder, without the files that it had.
            raise _lost(self.lock.folder, self.destination)

    def _require(self, key: str) -> None:
        """Raise `MissingDataError` unless a file is still there with its size."""
        try:
            size = os.stat(f"{self.root}/{key}", follow_symlinks=False).st_size
        except FileNotFoundError:
            size = -1
        if size != self.files[key].size:
            state = "is gone" if size < 0 else f"has {size} bytes"
            raise MissingDataError(
                f"{key} {state}, but {self.files[key].size} bytes were written into {self.root}: "
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
    build_folder = None if folder is None else os.path.abspath(folder)
    with workspace(target, build_folder, holds=holds) as area:
        if overwrite and os.path.isdir(target):
            area.before = manifest_at(target)
        yield area


@contextmanager
def workspace(target: str, folder: str | None = None, *, holds: bool = False) -> Iterator[Staging]:
    """A hidden folder of this process beside a path, in which its new content is built.

    Args:
        target: Absolute path of the archive that is made or changed.
        folder: Of the same file system, to build in instead of the parent of ``target``.
        holds: Whether all of it stays in memory until it is complete.

    Raises:
        ArchiveError: With code ``NO_SPACE`` or ``IO_ERROR`` for what the disk refuses.
    """
    parent, name = os.path.split(target)
    build_folder = parent if folder is None else folder
    try:
        with folders_made(*dict.fromkeys((parent, build_folder))):
            # A link may have led to another disk.
            if build_folder != parent and os.stat(build_folder).st_dev != os.stat(parent).st_dev:
                build_folder = parent
            with hidden_folder(build_folder, name) as lock, _named_if_lost(lock, target):
                root = os.path.join(lock.folder, _ARCHIVE)
                if not holds:
                    os.mkdir(root)
                yield Staging(root, target, lock=lock, holds=holds)
    except VoxarrayError:
        raise  # some of our exceptions are OSErrors, too
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
        "no process converts there",
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
        confirm: Called when only the rename is left, under the lock that keeps others from adding
            to the old archive; if it raises, nothing is renamed.
        later: Whether the name of a new archive may be synced later, together with those of the
            next archives; see `voxarray.storage.synced_names`.

    Raises:
        ArchiveExistsError: If something is there and ``overwrite`` is False, even if it appeared
            a moment ago; ``CONTENT_ADDED`` if the old archive was changed at that moment.
    """
    # This test may be outdated at the rename. Then the kernel refuses, since either flag makes it
    # check and rename in one step.
    flags = _RENAME_EXCHANGE if overwrite and os.path.lexists(destination) else _RENAME_NOREPLACE
    # Where nothing may be, there is nobody to hold up, and no mode to keep.
    with changes_held_up(destination) if overwrite else nullcontext() as manifest_before:
        confirm()
        if overwrite:
            # Before the rename, so that it is never visible with the mode of the hidden folder.
            keep_mode(staged, destination)
        try:
            _renameat2(staged, destination, flags)
        except FileExistsError:
            refuse_existing(destination, overwrite)
            raise
        if was_changed(staged, manifest_before):
            _renameat2(staged, destination, _RENAME_EXCHANGE)
            raise changed_at_last(destination)
    # After an exchange it is synced at once, since the old archive is deleted next.
    sync_name(destination, later=later and flags == _RENAME_NOREPLACE)
    _LOG.info("published %r", destination)
    if flags == _RENAME_EXCHANGE:
        # Now ``staged`` is the old archive. It is deleted only after the folder is synced: before,
        # a power loss could undo the exchange and bring its name back.
        _delete(staged)


def sync_name(destination: str, *, later: bool) -> None:
    """Sync the folder in which an archive has got its name.

    Args:
        destination: The archive.
        later: Whether that may be done together with the names of the next archives.

    Raises:
        ArchiveError: The disk refuses; ``NOT_SYNCED``.
    """
    folder = os.path.dirname(destination)
    try:
        if not (later and sync_later(folder)):
            sync(folder)
    except OSError as error:
        raise ArchiveError(
            f"{destination} is complete and has its final name, but its parent folder cannot be "
            f"synced to the disk ({error}). A power loss may undo this: after one, check that the "
            "archive is there",
            code="NOT_SYNCED",
            path=destination,
        ) from error


def refuse_existing(destination: str, overwrite: bool) -> None:
    """Raise `ArchiveExistsError` if there is something that may not be replaced."""
    if not os.path.lexists(destination):
        return
    if not overwrite:
        raise ArchiveExistsError(
            f"{destination} exists already: choose another name, or pass overwrite=True "
            "(--overwrite), which keeps the old archive until the new one is verified; the new one "
            f"is {REPLACED_WITHOUT}",
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

    Some network file systems have no such rename: there the steps are done one by one. A crash
    between the two renames of an exchange then leaves the old archive beside the destination, under
    a hidden name that ends in ``.replaced``, and ``voxarray clean --unlocked`` renames it back.
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
        # Two steps, and so a race: POSIX has no rename that refuses to replace.
        if os.path.lexists(destination):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), destination)
        os.rename(source, destination)
        return
    parent, name = os.path.split(destination)
    # If the process is killed after the next line, nothing is at the destination, and `clean` finds
    # the old archive by this name.
    replaced = os.path.join(parent, f".{name}.{random_identity()}{REPLACED}")
    os.rename(destination, replaced)
    os.rename(source, destination)
    os.rename(replaced, source)
