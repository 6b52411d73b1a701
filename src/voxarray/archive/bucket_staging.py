"""Building an archive in a bucket: objects first, the manifest last, in one step.

A file is written to the local disk, read back, put as an object and deleted here, while the next
files are encoded; an image of a few MiB touches no disk. Objects are created and never replaced:
the store refuses to create one that exists. If the existing object has the same bytes, it is used
as it is ("borrowed"); else it belongs to another writer, and this archive goes below a folder of
its own (see `voxarray.archive.root_prefix`). So nothing that anybody could have published is
changed.
Only the manifest makes it an archive. It is created, too, or replaces the manifest that was there
when writing began, if that is still there; the store lets one of several writers succeed.

If its source turns out to be bad, a writer deletes the objects that it has put at the top
("withdrawn"), unless another writer borrows them. Each of the two puts a mark before it looks for
the mark of the other, so that at least one of them sees it: a writer that would delete then does
not, and a writer that borrows copies the objects.

A writer that is interrupted leaves objects without a manifest, which nobody reads. The next
conversion of the same source reuses them, and ``voxarray clean`` removes them.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

from voxarray.archive import manifest as manifests
from voxarray.archive.manifest import FileEntry, Manifest
from voxarray.archive.replaceable import require_replaceable_keys
from voxarray.archive.replaced_manifests import is_replaced
from voxarray.archive.root_prefix import (
    TOP,
    is_borrowed_mark,
    is_withdrawn_mark,
    new_root,
    signpost,
)
from voxarray.archive.staging import Staging
from voxarray.core import settings, thread_pools
from voxarray.core.disk import refusal
from voxarray.core.errors import (
    ArchiveExistsError,
    FormatError,
    MissingDataError,
    SourceChangedError,
    VoxarrayError,
)
from voxarray.storage.remote import retries
from voxarray.storage.remote.objects import Stamp
from voxarray.storage.remote.writing import Body, WritableObjects
from voxarray.storage.store import SMALL
from voxarray.storage.uploads import body_of, exists, put_new, spool

_LOG = logging.getLogger(__name__)

_SOURCE_ERRORS = (FormatError, SourceChangedError)
"""With these every other writer of the same archive fails, too."""


@dataclass(slots=True)
class BucketStaging(Staging):
    """An archive under construction, of which finished files are objects already.

    Attributes:
        place: Where the archive will be.
        found: What was there when writing began: the manifest that is to be replaced, with its
            stamp, or None. It is asked for while the first voxels are read and encoded, and nothing
            is put before the answer.
    """

    place: WritableObjects = field(kw_only=True)
    found: Future[tuple[Manifest, Stamp] | None] = field(kw_only=True)
    _root: str = ""
    _is_known: bool = False
    _is_swapping: bool = False
    _is_borrowing: bool = False
    _mark: str = field(default_factory=new_root)
    _marks: list[str] = field(default_factory=list)
    _done: dict[str, str] = field(default_factory=dict)
    _created: list[str] = field(default_factory=list)
    _pending: list[Future[None]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def replaced(self) -> tuple[Manifest, Stamp] | None:
        """What is to be replaced; waits for the answer.

        Raises:
            VoxarrayError: As `there`.
        """
        found = self.found.result()
        with self._lock:
            if not self._is_known:
                self._root = "" if found is None else new_root()
                self._is_known = True
        return found

    def proceed(self) -> None:
        # What says where voxels are stays here until `publish`: if this writer gave up, it would
        # stay at the top, where other readers would take it for that of the next archive.
        if self.found.done():
            self.found.result()

    def record(self, key: str, entry: FileEntry) -> None:
        Staging.record(self, key, entry)
        self._begin(key)

    def publish(self, source: Mapping[str, Any]) -> None:
        """Put what is left, and the manifest last.

        Raises:
            ArchiveExistsError: Another archive is there now.
            MissingDataError: Somebody has deleted an object meanwhile.
            AccessDeniedError, TransportError: What the store refuses.
        """
        replaced = self.replaced
        held_files = self._held.take()
        top = held_files[TOP]
        for key in [key for key in self.files if key != TOP]:
            self._begin(key, held_files.get(key))
        for future in self._pending:
            future.result()
        # All others are looked for while the top is put, if they are this writer's own: of those of
        # another writer, only who looks after leaving a mark knows that they stay.
        root = self._root
        is_own = not self._is_borrowing and set(self._done.values()) <= {root}
        others = {root + key: entry for key, entry in self.files.items() if key != TOP}
        looking = thread_pools.beside(lambda: self._require_all(others))
        with looking if is_own else nullcontext():
            # After all other files: without it, other Zarr readers do not open an incomplete
            # archive.
            self._put(TOP, top)
        if self._is_borrowing and not self._root and self._is_marked("borrowed"):
            self._root = new_root()  # below, all objects are copied there
        # Objects that were put before a key turned out to be taken lie below another root.
        for key, other_root in list(self._done.items()):
            if other_root != self._root:
                self.place.copy(other_root + key, self._root + key)
        files = {self._root + key: entry for key, entry in self.files.items()}
        if not is_own or self._is_borrowing or self._root != root:
            self._require_all(files)
        manifest = Manifest(files, source)
        # From here on, a transport error leaves open whether the archive was published.
        self._is_swapping = True
        before = None if replaced is None else replaced[1]
        data = manifest.to_bytes()
        stamp = put_new(self.place, manifests.KEY, data, before)
        self.published = None if stamp is None else (data, stamp)
        _LOG.info("published %r", self.destination)
        self._tidy(files, top)

    def _begin(self, key: str, data: bytes | None = None) -> None:
        _ = self.replaced  # says below which root
        with self._lock:
            if key in self._done:
                return
            self._done[key] = self._root
        self._pending.append(thread_pools.request_pool().submit(self._put, key, data))

    def _put(self, key: str, data: bytes | None) -> None:
        """Put a file from memory, or from the local disk, where it is then deleted."""
        path, root = f"{self.root}/{key}", self._root
        body = body_of(path) if data is None else data
        while not self._is_put(root + key, body):
            root = self._moved(root)
        self._done[key] = root
        if data is None:
            os.unlink(path)

    def _is_put(self, key: str, data: Body) -> bool:
        """Create an object; True if it was created, or was there with the same bytes."""
        for number in range(1, 1 + max(1, int(settings.get("remote-attempts")))):
            # If the answer to a create was lost, our own object looks like that of another writer:
            # so the bytes are compared.
            if self.place.create(key, data):
                self._created.append(key)
                return True
            if self.place.holds(key, data):
                self._is_borrowing = True
                return True
            if self.place.stat(key) is not None:
                return False
            retries.pause(number)  # 409, or it was deleted before it could be compared
        return False

    def _is_marked(self, own: str) -> bool:
        """Leave a mark, and look whether another writer has left the opposite one."""
        is_opposite = is_withdrawn_mark if own == "borrowed" else is_borrowed_mark
        self._marks.append(f"{self._mark}{own}")
        self.place.put(self._marks[-1], own.encode())
        return any(is_opposite(key) for key in self.place.stamps())

    def _moved(self, root: str) -> str:
        """The root to write below, after a key below ``root`` was found taken by other bytes."""
        with self._lock:
            # Several threads may find that at once, and one new root is enough.
            if self._root == root:
                self._root = new_root()
                _LOG.info(
                    "objects with the same names exist already in %r, so the new files are written "
                    "below %r in it",
                    self.destination,
                    self._root,
                )
            return self._root

    def _require_all(self, files: Mapping[str, FileEntry]) -> None:
        stamps = self.place.stamps()
        for key, entry in files.items():
            size = stamps[key].size if key in stamps else -1
            if size != entry.size:
                difference = "is gone" if size < 0 else f"has {size} bytes"
                raise MissingDataError(
                    f"{key} {difference}, but {entry.size} bytes were put into {self.destination}: "
                    "somebody deleted or changed it while the archive was made; convert again",
                    path=self.destination,
                )

    def _tidy(self, files: Mapping[str, FileEntry], top: bytes) -> None:
        """Put the signpost for other readers, and delete the objects that were replaced.

        The archive is published already, so errors are only logged.
        """
        bucket = self.place
        try:
            if self._root:
                bucket.put(TOP, signpost(top, self._root))
            old = None if self.replaced is None else self.replaced[0]
            old_files = [] if old is None else old.files
            obsolete = [key for key in old_files if key not in files and key != TOP]
            if old is not None and old.generation:
                obsolete += self._history_of(old)
            bucket.delete([*obsolete, *self._marks])
        except (VoxarrayError, OSError) as error:
            _LOG.warning(
                "%r is complete, but the objects that it replaced could not be deleted: %s",
                self.destination,
                error,
            )

    def _history_of(self, replaced: Manifest) -> Iterator[str]:
        """Keys of the earlier manifests of the archive that was replaced.

        The new archive may have a history of its own by now, so the identities are compared.
        """
        for key in self.place.stamps():
            if is_replaced(key, replaced):
                stored = self.place.fetch(key, SMALL)
                with suppress(VoxarrayError):  # a damaged one, which `clean` deletes
                    if stored and Manifest.parse(stored[0], key).identity == replaced.identity:
                        yield key

    def give_up(self, error: BaseException) -> None:
        """Delete the objects that were put, where no other writer can be using them.

        Below a folder of its own these are all. Objects at the top may be borrowed by another
        writer of the same archive. They are deleted only if the source is at fault, since then
        that writer fails, too, and if it has left no mark.
        """
        for future in self._pending:
            future.cancel()
        wait(self._pending)
        if not self._created and not self._marks:
            return
        if self._is_swapping and not isinstance(error, ArchiveExistsError):
            return  # nobody knows whether it was published
        at_top = any(not key.startswith("generations/") for key in self._created)
        with suppress(VoxarrayError, OSError):
            may_delete_all = at_top and isinstance(error, _SOURCE_ERRORS)
            # Before the manifest is read: a writer that has published it leaves no mark behind.
            may_delete_all = may_delete_all and not self._is_marked("withdrawn")
            current = self.place.fetch(manifests.KEY, SMALL)
            named_keys = (
                {} if current is None else Manifest.parse(current[0], self.destination).files
            )
            may_delete_all = may_delete_all and current is None
            removable = [
                key
                for key in self._created
                if key not in named_keys and (may_delete_all or key.startswith("generations/"))
            ]
            self.place.delete(removable)
            # In a call of their own: the store deletes the objects of one call in any order, and
            # if the mark went first, another writer could borrow objects that are about to go.
            self.place.delete(self._marks)


@contextmanager
def bucket_staging(
    destination: str, overwrite: bool, *, holds: bool = False
) -> Iterator[BucketStaging]:
    """An archive to be made at a URL; if that fails, the objects that were put are deleted.

    Args:
        destination: Where the archive will be.
        overwrite: Whether an archive may be there already.
        holds: Whether all of it stays in memory until it is put, and nothing is written here.

    Raises:
        ArchiveExistsError: If there is one and ``overwrite`` is False, or what is there is no
            archive of ours.
        AccessDeniedError, TransportError: What the store refuses.
        ArchiveError: With code ``NO_SPACE`` or ``IO_ERROR`` for what the disk refuses.
    """
    bucket = WritableObjects.at(destination).pinned()
    found = thread_pools.asking_pool().submit(there, bucket, overwrite)
    try:
        with nullcontext("") if holds else spool() as folder:
            area = BucketStaging(
                folder,
                bucket.url,
                holds=holds,
                place=bucket,
                found=found,
            )
            try:
                yield area
            except BaseException as error:
                area.give_up(error)
                raise
    except VoxarrayError:
        raise
    except OSError as error:
        raise refusal(error, bucket.url) from error


def there(bucket: WritableObjects, overwrite: bool) -> tuple[Manifest, Stamp] | None:
    """The manifest of the archive at a place that is to be replaced; None if there is none.

    Raises:
        ArchiveExistsError: If it may not be replaced.
    """
    # One request where there is nothing, as mostly. Who puts a manifest afterwards is found out
    # when that of this writer is to be put.
    keys = bucket.stamps()
    if manifests.KEY in keys and not overwrite:
        raise exists(bucket.url)
    stored = bucket.fetch(manifests.KEY, SMALL) if manifests.KEY in keys else None
    if stored is None:
        require_unclaimed(bucket, keys)
        return None
    try:
        manifest = Manifest.parse(stored[0], bucket.url)
    except VoxarrayError:  # a damaged one of ours may be replaced, another program's may not
        if not stored[0].startswith(manifests.BEGINNING):
            raise
        require_replaceable_keys(bucket.url, keys, None, bucket.whole)
        return Manifest({}, {}), stored[1]
    require_replaceable_keys(bucket.url, keys, set(manifest.files), bucket.whole)
    return manifest, stored[1]


def require_unclaimed(bucket: WritableObjects, keys: Mapping[str, Stamp]) -> None:
    """Raise `ArchiveExistsError` unless all that is there was left by writers of an archive."""
    top = bucket.fetch(TOP, SMALL) if TOP in keys else None
    require_replaceable_keys(bucket.url, keys, None, bucket.whole, None if top is None else top[0])
