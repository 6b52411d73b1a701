"""Open shards and parsed manifests of this process: shared by threads, inherited by forks."""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace

from voxarray.archive import manifest as manifests
from voxarray.archive.manifest import Manifest
from voxarray.archive.shard import ShardHandle, ShardIndex
from voxarray.core import descriptors, thread_pools
from voxarray.core.errors import (
    ArchiveError,
    FormatError,
    MissingDataError,
    SourceChangedError,
    VoxarrayError,
)
from voxarray.storage.file_identity import FileIdentity
from voxarray.storage.store import Store, TreeStore
from voxarray.storage.zip_store import ZipStore

MAX_MANIFESTS = 64
MAX_AGREEMENTS = 1024
MAX_DIGESTS = 16384


_COMPARISONS = 50
"""How often an archive to which others add in quick succession is compared with what was opened."""

_lock = threading.Lock()
_opening = [threading.Lock() for _ in range(64)]
_shards: OrderedDict[tuple[Hashable, str], ShardHandle] = OrderedDict()
_manifests: OrderedDict[Hashable, Manifest] = OrderedDict()
_agreements: OrderedDict[tuple[Hashable, Hashable, str], bool] = OrderedDict()
_digests: OrderedDict[Hashable, str] = OrderedDict()
"""Of manifests that are not at hand any more."""


def identity(store: Store) -> Hashable:
    """What makes this archive the one that was opened: its manifest, or its zip file.

    With the time of its status, which nobody can set: where every file of a folder was written anew
    in place, sizes, times and inodes may be those that were.

    Raises:
        MissingDataError: If there is no manifest; code ``NO_MANIFEST``.
    """
    if manifests.KEY not in store:
        Manifest.read(store)  # says what is wrong
    if isinstance(store, TreeStore):
        return FileIdentity.of(f"{store.path}/{manifests.KEY}")
    return store.identity(manifests.KEY)


def manifest(store: Store, opened: Hashable) -> Manifest:
    """The manifest of the archive that was opened, parsed once per process.

    Where label maps came or went since, it is the one that was opened all the same.

    Raises:
        SourceChangedError: If the archive was replaced since.
    """
    found = _known(store, opened)
    if found is None:
        _require_unchanged(store, opened)
        found = _parsed(store, opened) or _known(store, opened)  # it may go just now
    if found is None:
        raise _replaced(store)
    return found


def _known(store: Store, opened: Hashable) -> Manifest | None:
    """A manifest that was read before, or that is kept beside the one that replaced it."""
    with _lock:
        found = _manifests.get(opened)
    if found is None and isinstance(store, TreeStore) and isinstance(opened, FileIdentity):
        found = _from_history(store, opened)
    return found


def _parsed(store: Store, opened: Hashable) -> Manifest | None:
    """The manifest that is there now; None if it is not the one that was opened."""
    found = Manifest.read(store)
    if not isinstance(store, ZipStore):
        now = identity(store)
        if now != opened and not _can_be(opened, now, found):
            return None
    return _remembered(opened, found)


def _can_be(opened: Hashable, now: Hashable, found: Manifest) -> bool:
    """Whether a manifest is the one that was opened, though the time of its status is another."""
    if not isinstance(opened, FileIdentity) or not isinstance(now, FileIdentity):
        return False
    if opened.without_status() != now.without_status():
        return False
    digest = _digest_of(opened)
    # One that was read in another process: only of it is the status all that is known.
    return opened.can_be(now) if digest is None else digest == found.digest


def _remembered(opened: Hashable, found: Manifest) -> Manifest:
    with _lock:
        _manifests[opened] = found
        oldest = list(itertools.islice(_manifests.items(), max(0, len(_manifests) - MAX_MANIFESTS)))
    digests = {name: manifest.digest for name, manifest in oldest}  # others need not wait for it
    with _lock:  # in one step: who asks meanwhile must find one or the other
        for name in digests:
            _manifests.pop(name, None)
        _digests.update(digests)
        while len(_digests) > MAX_DIGESTS:
            _digests.popitem(last=False)
    return found


def _digest_of(opened: Hashable) -> str | None:
    """The digest of a manifest that was read before, and is not at hand any more."""
    with _lock:
        return _digests.get(opened)


def _from_history(store: TreeStore, opened: FileIdentity) -> Manifest | None:
    """The manifest that was opened in another process, by its second name in the history."""
    # A second name, and the end of the first, change the time of the status.
    plain = opened.without_status()
    if opened.path != f"{store.path}/{manifests.KEY}" or store.identity(manifests.KEY) == plain:
        return None
    from voxarray.archive.generations import history  # seldom needed, and it loads what writes

    for key in reversed(history(store.path).values()):
        try:
            if replace(store.identity(key), path=opened.path) == plain:
                return _remembered(opened, Manifest.parse(store.read(key), store.path))
        except VoxarrayError:  # swept meanwhile
            continue
    return None


def document(store: Store, opened: Hashable, key: str) -> bytes:
    """Bytes of a small file of the archive that was opened, checked against its manifest.

    Raises:
        SourceChangedError: If the archive was replaced since: its new files are not damage.
        MissingDataError: If the file is gone.
        ChecksumError: If it is damaged.
    """
    _require_unchanged(store, opened, key)
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
                # Dropped, not closed: who reads from one goes on, and the last one closes it.
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
    known = None if entry.tail is None else store.open_known(key, expected)
    if known is not None:  # the digest of its tail says whether it is the one that was written
        # Whether the archive is still the one that was opened is asked meanwhile.
        current = thread_pools.waiting_pool().submit(_require_unchanged, store, opened, key)
        try:
            handle = ShardHandle(
                known, ShardIndex.read(known, chunks, entry.tail, f"{store.path}/{key}")
            )
            current.result()
            return handle
        except VoxarrayError:  # what is wrong is found out below, request by request
            known.close()
    _require_unchanged(store, opened, key)
    blob = store.open(key)
    try:
        where = f"{store.path}/{key}"
        if blob.size != expected:
            raise ArchiveError(
                f"{where} has {blob.size} bytes, but {expected} were written: it is damaged or was "
                "not copied whole; restore it, or convert the source again with --overwrite "
                "(overwrite=True)",
                code="TRUNCATED" if blob.size < expected else "BAD_SIZE",
                path=store.path,
            )
        return ShardHandle(blob, ShardIndex.read(blob, chunks, entry.tail, where))
    except BaseException:
        blob.close()
        raise


def require_current(store: Store, opened: Hashable, folder: str) -> None:
    """Refuse to read on from an archive whose place another has taken, or none.

    What is cached of it would still be whole. Archives behind URLs are not asked about for every
    read; whatever is fetched from them is checked.

    Args:
        store: Where the archive lies.
        opened: Its identity when it was opened.
        folder: In it, of what is read.

    Raises:
        SourceChangedError: If the archive, or what is in the folder, was changed, replaced or
            deleted since it was opened.
    """
    if isinstance(store, TreeStore):
        _require_unchanged(store, opened, f"{folder}/")
    elif isinstance(opened, FileIdentity):
        _require_same_zip(store, opened)


def _require_same_zip(store: Store, opened: FileIdentity) -> None:
    """Raise `SourceChangedError` if a zip is not the one that was opened.

    One that was written anew in place may have the size and time of its content that the other had,
    but not the time of its status; which a new right, a second name or a backup changes, too. So
    that then its manifest tells, of which each time is asked once.
    """
    fd = opened.without_status().open()
    try:
        if os.fstat(fd).st_ctime_ns == opened.ctime_ns or not opened.ctime_ns:
            return
        now = FileIdentity.of(opened.path, fd)
    finally:
        os.close(fd)
    asked = (opened, now, "")
    with _lock:
        found = _agreements.get(asked)
    if found is None:
        was = _known(store, opened)
        digest = _digest_of(opened) if was is None else was.digest
        if digest is None:  # another process has read it, and only the times are known here
            os.close(opened.open())
            return
        try:
            found = digest == Manifest.read(ZipStore(now)).digest
        except (ArchiveError, FormatError):  # it is no archive any more
            found = False
        _agree(asked, found)
    if not found:
        raise _replaced(store)


def _require_unchanged(store: Store, opened: Hashable, key: str = "") -> None:
    """Raise `SourceChangedError` if an archive is not the one that was opened.

    Args:
        store: Where it lies.
        opened: Its identity when it was opened.
        key: Of the file in it that matters; of a folder, with a final slash. Empty for nothing.
    """
    if isinstance(store, ZipStore):
        if isinstance(opened, FileIdentity):
            _require_same_zip(store, opened)
        return
    # A folder may have been swapped for another.
    if isinstance(store, TreeStore) and not os.path.isdir(store.path):
        raise SourceChangedError(
            f"the archive {store.path} was deleted or renamed after it was opened: open it where "
            "it is now",
            path=store.path,
        )
    for _ in range(_COMPARISONS):
        try:
            now = identity(store)
        except MissingDataError as error:
            raise SourceChangedError(error.message, path=store.path) from None
        is_same = now == opened or _is_the_same(store, opened, now, key)
        if is_same:
            return
        if is_same is False:
            break
    raise _replaced(store)


def _is_the_same(store: Store, opened: Hashable, now: Hashable, key: str) -> bool | None:
    """Whether a file of an archive is as it was, though label maps or notes came or went.

    None if the manifest of now was replaced before it was read, so that there is another now.
    """
    # Asked for every shard that is opened, and the answer stays: both name bytes that are fixed.
    asked = (opened, now, key)
    with _lock:
        found = _agreements.get(asked)
    if found is None:
        was = _known(store, opened)
        try:
            new = _known(store, now) or _parsed(store, now)
        except (ArchiveError, FormatError):  # it is no manifest any more
            return False
        if not new:
            return None
        if was is None:
            found = _can_be(opened, now, new)
        else:
            found = was.identity == new.identity and _entries(was, key) == _entries(new, key)
        _agree(asked, found)
    return found


def _agree(asked: tuple[Hashable, Hashable, str], found: bool) -> None:
    with _lock:
        _agreements[asked] = found
        while len(_agreements) > MAX_AGREEMENTS:
            _agreements.popitem(last=False)


def _entries(of: Manifest, key: str) -> list[object]:
    if not key.endswith("/"):
        return [of.files.get(key)]
    return [(name, entry) for name, entry in of.files.items() if name.startswith(key)]


def _replaced(store: Store) -> SourceChangedError:
    return SourceChangedError(
        f"the archive {store.path} was replaced after it was opened, or the part that is read "
        "was removed from it: open it again",
        path=store.path,
    )


def _renew_lock_in_child() -> None:
    # Another thread may have held a lock at the moment of the fork.
    global _lock, _opening
    _lock = threading.Lock()
    _opening = [threading.Lock() for _ in range(64)]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock_in_child)
