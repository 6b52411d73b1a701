"""Building an archive in a bucket: objects first, the manifest last, in one step.

A file is written on this machine's disk, read back, put as an object and deleted here, while those
after it are encoded; an image of a few MiB touches no disk. Every object is created, which the
store refuses where there is one: what is there has the same bytes, and is as good, or is of another
writer, and then this archive goes below a folder of its own (see `voxarray.archive.roots`). So
nothing that anybody could have published is changed. Only the manifest makes it an archive: it is
created too, or takes the place of the very manifest that was there when writing began; the store
lets one of several writers do that.

What a writer has put at the top it may delete again, if its source turns out to be bad, unless
another counts on it. Both leave a mark before they look for the other's, so that one of them at
least sees it: who would delete does not, and who counts on objects copies them.

Who is interrupted leaves objects without a manifest, which nobody reads. The next conversion of the
same source goes on from them, and ``voxarray clean`` removes them.
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
from voxarray.archive.manifest_history import is_history
from voxarray.archive.replaceable import require_replaceable_keys
from voxarray.archive.roots import (
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

_OF_THE_SOURCE = (FormatError, SourceChangedError)
"""What would befall any other writer of the same archive, too."""


@dataclass(slots=True)
class BucketStaging(Staging):
    """An archive under construction, of which finished files are objects already.

    Attributes:
        place: Where the archive will be.
        replaced: Manifest that was there when writing began, with its stamp; None if there is none.
    """

    place: WritableObjects = field(kw_only=True)
    replaced: tuple[Manifest, Stamp] | None = field(kw_only=True)
    _root: str = field(kw_only=True)
    _is_swapping: bool = False
    _is_borrowing: bool = False
    _mark: str = field(default_factory=new_root)
    _marks: list[str] = field(default_factory=list)
    _done: dict[str, str] = field(default_factory=dict)
    _created: list[str] = field(default_factory=list)
    _pending: list[Future[None]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

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
        held = self._held.take()
        top = held[TOP]
        for key in [key for key in self.files if key != TOP]:
            self._begin(key, held.get(key))
        for future in self._pending:
            future.result()
        self._put(TOP, top)  # the last of all: without it, nobody else opens what is not whole
        if self._is_borrowing and not self._root and self._is_marked("borrowed"):
            self._root = new_root()  # and all is copied there
        # What went up before a key turned out to be taken lies elsewhere; all files have one root.
        for key, root in list(self._done.items()):
            if root != self._root:
                self.place.copy(root + key, self._root + key)
        files = {self._root + key: entry for key, entry in self.files.items()}
        self._require_all(files)
        manifest = Manifest(files, source)
        # From here on an error of the transport does not tell whether it was published.
        self._is_swapping = True
        before = None if self.replaced is None else self.replaced[1]
        put_new(self.place, manifests.KEY, manifest.to_bytes(), before)
        _LOG.info("published %r", self.destination)
        self._tidy(files, top)

    def _begin(self, key: str, data: bytes | None = None) -> None:
        with self._lock:
            if key in self._done:
                return
            self._done[key] = self._root
        self._pending.append(thread_pools.request_pool().submit(self._put, key, data))

    def _put(self, key: str, data: bytes | None) -> None:
        """Put a file that is held, or one that is on this machine's disk and then leaves it."""
        path, root = f"{self.root}/{key}", self._root
        body = body_of(path) if data is None else data
        while not self._is_put(root + key, body):
            root = self._moved(root)
        self._done[key] = root
        if data is None:
            os.unlink(path)

    def _is_put(self, key: str, data: Body) -> bool:
        """Whether an object is there with these bytes, from now on or before."""
        for number in range(1, 1 + max(1, int(settings.get("remote-attempts")))):
            # An answer that was lost makes our own object look like another's: then the bytes tell.
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
        """Where to go on after a key was taken by other bytes."""
        with self._lock:
            # Several threads find it taken, and one new root is enough.
            if self._root == root:
                self._root = new_root()
                _LOG.info(
                    "the files of %r are written below %r in it, since other objects have their "
                    "keys",
                    self.destination,
                    self._root,
                )
            return self._root

    def _require_all(self, files: Mapping[str, FileEntry]) -> None:
        seen = self.place.stamps()
        for key, entry in files.items():
            size = seen[key].size if key in seen else -1
            if size != entry.size:
                told = "is gone" if size < 0 else f"has {size} bytes"
                raise MissingDataError(
                    f"{key} {told}, but {entry.size} bytes were put into {self.destination}: "
                    "somebody deleted or changed it while the archive was made; convert again",
                    path=self.destination,
                )

    def _tidy(self, files: Mapping[str, FileEntry], top: bytes) -> None:
        """Tell other readers where it is, and delete what it has replaced; it is there anyway."""
        place = self.place
        try:
            if self._root:
                place.put(TOP, signpost(top, self._root))
            old = [] if self.replaced is None else self.replaced[0].files
            gone = [key for key in old if key not in files and key != TOP]
            if self.replaced is not None and self.replaced[0].generation:
                gone += self._history_of(self.replaced[0])
            place.delete([*gone, *self._marks])
        except (VoxarrayError, OSError) as error:
            _LOG.warning(
                "%r is complete, but the objects that it replaced could not be deleted: %s",
                self.destination,
                error,
            )

    def _history_of(self, replaced: Manifest) -> Iterator[str]:
        """Keys of the manifests before one; some may be those of the new archive already."""
        for key in self.place.stamps():
            if is_history(key, replaced):
                found = self.place.fetch(key, SMALL)
                with suppress(VoxarrayError):  # a damaged one, which `clean` deletes
                    if found and Manifest.parse(found[0], key).identity == replaced.identity:
                        yield key

    def give_up(self, error: BaseException) -> None:
        """Remove what was put, where nobody else can have counted on it.

        Below a folder of its own that is all. At the top another writer of the same archive may
        count on it, unless that fails like this one, for what the source says, or has left a mark.
        """
        for future in self._pending:
            future.cancel()
        wait(self._pending)
        if self._is_swapping and not isinstance(error, ArchiveExistsError):
            return  # nobody knows whether it was published
        at_top = any(not key.startswith("generations/") for key in self._created)
        with suppress(VoxarrayError, OSError):
            alone = at_top and isinstance(error, _OF_THE_SOURCE)
            # Before the manifest is looked for: whoever has published it has left no mark.
            alone = alone and not self._is_marked("withdrawn")
            current = self.place.fetch(manifests.KEY, SMALL)
            named = {} if current is None else Manifest.parse(current[0], self.destination).files
            alone = alone and current is None
            gone = [
                key
                for key in self._created
                if key not in named and (alone or key.startswith("generations/"))
            ]
            self.place.delete(gone)
            # Not with them: objects of one call go in any order, and without the mark others count
            # on those that are there still.
            self.place.delete(self._marks)


@contextmanager
def bucket_staging(
    destination: str, overwrite: bool, *, holds: bool = False
) -> Iterator[BucketStaging]:
    """An archive to be made at a URL; what was put goes again if that fails for good.

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
    place = WritableObjects.at(destination)
    replaced = there(place, overwrite)
    try:
        with nullcontext("") if holds else spool() as folder:
            area = BucketStaging(
                folder,
                place.url,
                holds=holds,
                place=place,
                replaced=replaced,
                _root="" if replaced is None else new_root(),
            )
            try:
                yield area
            except BaseException as error:
                area.give_up(error)
                raise
    except VoxarrayError:
        raise
    except OSError as error:
        raise refusal(error, place.url) from error


def there(place: WritableObjects, overwrite: bool) -> tuple[Manifest, Stamp] | None:
    """The manifest of the archive at a place that is to be replaced; None if there is none.

    Raises:
        ArchiveExistsError: If it may not be replaced.
    """
    found = place.fetch(manifests.KEY, SMALL)
    if found is not None and not overwrite:
        raise exists(place.url)
    keys = place.stamps()
    if found is None:
        require_unclaimed(place, keys)
        return None
    try:
        manifest = Manifest.parse(found[0], place.url)
    except VoxarrayError:  # a damaged one of ours may be replaced, another program's may not
        if not found[0].startswith(manifests.BEGINNING):
            raise
        require_replaceable_keys(place.url, keys, None)
        return Manifest({}, {}), found[1]
    require_replaceable_keys(place.url, keys, set(manifest.files))
    return manifest, found[1]


def require_unclaimed(place: WritableObjects, keys: Mapping[str, Stamp]) -> None:
    """Raise `ArchiveExistsError` unless all that is there was left by writers of an archive."""
    top = place.fetch(TOP, SMALL) if TOP in keys else None
    require_replaceable_keys(place.url, keys, None, None if top is None else top[0])
