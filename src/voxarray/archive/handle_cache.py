"""Open shards and parsed manifests of this process: shared by threads, inherited by forks."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable

from voxarray.archive import manifest as manifests
from voxarray.archive.manifest import Manifest
from voxarray.archive.shard import ShardIndex
from voxarray.core import descriptors
from voxarray.core.errors import (
    ArchiveError,
    MissingDataError,
    SourceChangedError,
    VoxarrayError,
)
from voxarray.storage.file_identity import FileIdentity
from voxarray.storage.mapped import MappedShard
from voxarray.storage.store import Blob, Store, TreeStore
from voxarray.storage.zip_store import ZipStore

MAX_MANIFESTS = 64


class ShardHandle:
    """An open shard with its checked index; closes itself when the last reader lets go.

    Attributes:
        blob: The shard's bytes.
        index: Where its chunks lie.
    """

    __slots__ = ("_mapped", "blob", "index")

    def __init__(self, blob: Blob, index: ShardIndex) -> None:
        self.blob, self.index = blob, index
        self._mapped: MappedShard | None = None

    def mapped(self) -> MappedShard | None:
        """The bytes as memory, mapped when first asked for; None where that is not possible.

        From then on the blob is closed: the map has a descriptor of its own.
        """
        if self._mapped is None:
            with _mapping:  # two maps would each have chunks of their own to check
                if self._mapped is None:
                    self._mapped = descriptors.with_room(self.blob.mapped)
                    if self._mapped is not None:
                        self.blob.close()
        return self._mapped

    def __del__(self) -> None:
        if self._mapped is None:
            self.blob.close()


_lock = threading.Lock()
_mapping = threading.Lock()
_opening = [threading.Lock() for _ in range(64)]
_shards: OrderedDict[tuple[Hashable, str], ShardHandle] = OrderedDict()
_manifests: OrderedDict[Hashable, Manifest] = OrderedDict()


def identity(store: Store) -> Hashable:
    """What makes this archive the one that was opened: its manifest, or its zip file.

    Raises:
        MissingDataError: If there is no manifest; code ``NO_MANIFEST``.
    """
    if manifests.KEY not in store:
        Manifest.read(store)  # says what is wrong
    return store.identity(manifests.KEY)


def manifest(store: Store, opened: Hashable) -> Manifest:
    """The manifest of the archive that was opened, parsed once per process.

    Raises:
        SourceChangedError: If the archive was replaced since.
    """
    with _lock:
        found = _manifests.get(opened)
    if found is not None:
        return found
    _require_unchanged(store, opened)
    found = Manifest.read(store)
    with _lock:
        _manifests[opened] = found
        while len(_manifests) > MAX_MANIFESTS:
            _manifests.popitem(last=False)
    return found


def document(store: Store, opened: Hashable, key: str) -> bytes:
    """Bytes of a small file of the archive that was opened, checked against its manifest.

    Raises:
        SourceChangedError: If the archive was replaced since: its new files are not damage.
        MissingDataError: If the file is gone.
        ChecksumError: If it is damaged.
    """
    _require_unchanged(store, opened)
    return manifest(store, opened).checked(store, key)


def shard(store: Store, opened: Hashable, key: str, chunks: int) -> ShardHandle:
    """The open shard at ``key``; its index and size are checked when it is opened first.

    Raises:
        MissingDataError: If the shard is gone.
        ChecksumError: If its index is damaged.
        ArchiveError: If its size is not the one in the manifest.
        SourceChangedError: If the archive was replaced since it was opened.
    """
    name = (opened, key)
    handle = _open_already(name)
    if handle is not None:
        return handle
    with _opening[hash(name) % len(_opening)]:  # many threads want it, and one asks for it
        handle = _open_already(name)
        if handle is None:
            handle = _open(store, opened, key, chunks)
            with _lock:
                _shards[name] = handle
                most = descriptors.allowance()
                while len(_shards) > most:
                    _shards.popitem(last=False)
    return handle


def _open_already(name: tuple[Hashable, str]) -> ShardHandle | None:
    with _lock:
        handle = _shards.get(name)
        if handle is not None:
            _shards.move_to_end(name)
        return handle


def _let_go() -> None:
    with _lock:
        _shards.clear()


descriptors.release_on_shortage(_let_go)


def check_shard(store: Store, opened: Hashable, key: str, chunks: int) -> None:
    """Raise as `shard` does for one that is not as it was written; nothing of it is kept open."""
    _open(store, opened, key, chunks)


def _open(store: Store, opened: Hashable, key: str, chunks: int) -> ShardHandle:
    entry = manifest(store, opened).shard(key, store.path)
    expected = entry.size
    _require_unchanged(store, opened)
    known = None if entry.tail is None else store.open_known(key, expected)
    if known is not None:  # the digest of its tail says whether it is the one that was written
        try:
            return ShardHandle(
                known, ShardIndex.read(known, chunks, entry.tail, f"{store.path}/{key}")
            )
        except VoxarrayError:  # what is wrong is found out below, request by request
            known.close()
    blob = store.open(key)
    try:
        where = f"{store.path}/{key}"
        if blob.size != expected:
            raise ArchiveError(
                f"{where} has {blob.size} bytes where {expected} were written: it is damaged or "
                "was not copied whole, restore it or convert the source again",
                code="TRUNCATED" if blob.size < expected else "BAD_SIZE",
                path=store.path,
            )
        return ShardHandle(blob, ShardIndex.read(blob, chunks, entry.tail, where))
    except BaseException:
        blob.close()
        raise


def require_current(store: Store, opened: Hashable) -> None:
    """Refuse to read on from an archive whose place another has taken, or none.

    What is cached of it would still be whole. Archives behind URLs are not asked about for every
    read; whatever is fetched from them is checked.

    Raises:
        SourceChangedError: If the archive was changed, replaced or deleted since it was opened.
    """
    if isinstance(store, TreeStore):
        _require_unchanged(store, opened)
    elif isinstance(opened, FileIdentity):  # a zip
        os.close(opened.open())


def _require_unchanged(store: Store, opened: Hashable) -> None:
    # A zip checks itself whenever it is opened; a folder may have been swapped for another.
    if isinstance(store, ZipStore):
        return
    if isinstance(store, TreeStore) and not os.path.isdir(store.path):
        raise SourceChangedError(
            f"the archive {store.path} was deleted or renamed after it was opened", path=store.path
        )
    try:
        now = identity(store)
    except MissingDataError as error:
        raise SourceChangedError(error.message, path=store.path) from None
    if now != opened:
        raise SourceChangedError(
            f"the archive {store.path} was replaced after it was opened: open it again",
            path=store.path,
        )


def _renew_lock_in_child() -> None:
    # Another thread may have held a lock at the moment of the fork.
    global _lock, _mapping, _opening
    _lock, _mapping = threading.Lock(), threading.Lock()
    _opening = [threading.Lock() for _ in range(64)]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock_in_child)
