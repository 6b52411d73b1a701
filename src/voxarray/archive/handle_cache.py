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
from voxarray.core.error_messages import MAKE_AGAIN
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
"""How often an archive is compared with the one that was opened, if others keep changing it."""

_lock = threading.Lock()
_opening = [threading.Lock() for _ in range(64)]
_shards: OrderedDict[tuple[Hashable, str], ShardHandle] = OrderedDict()
_manifests: OrderedDict[Hashable, Manifest] = OrderedDict()
_agreements: OrderedDict[tuple[Hashable, Hashable, str], bool] = OrderedDict()
_digests: OrderedDict[Hashable, str] = OrderedDict()
"""Digests of manifests that were dropped from `_manifests`."""


def identity(store: Store) -> Hashable:
    """Identity of the manifest, or of the zip file; it changes if the archive is replaced.

    It includes the time of the last status change (ctime), which programs cannot set: if all files
    of a folder were rewritten in place, sizes, modification times and inodes may be the old ones.

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

    If label maps were added or removed since, it is still the one that was opened.

    Raises:
        SourceChangedError: If the archive was replaced since.
    """
    parsed = _known(store, opened)
    if parsed is None:
        _require_unchanged(store, opened)
        # It may be replaced between the two calls; then it is among the replaced ones.
        parsed = _parsed(store, opened) or _known(store, opened)
    if parsed is None:
        raise _replaced(store)
    return parsed


def _known(store: Store, opened: Hashable) -> Manifest | None:
    """A manifest that was read before, or that is kept beside the one that replaced it."""
    with _lock:
        known = _manifests.get(opened)
    if known is None and isinstance(store, TreeStore) and isinstance(opened, FileIdentity):
        known = _from_replaced(store, opened)
    return known


def _parsed(store: Store, opened: Hashable) -> Manifest | None:
    """The manifest that is there now; None if it is not the one that was opened."""
    parsed = Manifest.read(store)
    if not isinstance(store, ZipStore):
        current = identity(store)
        if current != opened and not _can_be(opened, current, parsed):
            return None
    return _remembered(opened, parsed)


def _can_be(opened: Hashable, current: Hashable, manifest: Manifest) -> bool:
    """Whether a manifest is the one that was opened, though its ctime differs."""
    if not isinstance(opened, FileIdentity) or not isinstance(current, FileIdentity):
        return False
    if opened.without_status() != current.without_status():
        return False
    digest = _digest_of(opened)
    # Without a digest, another process has read it, and only file times and sizes are known here.
    return opened.can_be(current) if digest is None else digest == manifest.digest


def _remembered(opened: Hashable, parsed: Manifest) -> Manifest:
    with _lock:
        _manifests[opened] = parsed
        oldest = list(itertools.islice(_manifests.items(), max(0, len(_manifests) - MAX_MANIFESTS)))
    # Computed outside the lock, so that other threads need not wait.
    digests = {name: manifest.digest for name, manifest in oldest}
    with _lock:  # at once: other threads must find either the manifest or its digest
        for name in digests:
            _manifests.pop(name, None)
        _digests.update(digests)
        while len(_digests) > MAX_DIGESTS:
            _digests.popitem(last=False)
    return parsed


def _digest_of(opened: Hashable) -> str | None:
    """The digest of a manifest that was read before and dropped since; None if it is unknown."""
    with _lock:
        return _digests.get(opened)


def _from_replaced(store: TreeStore, opened: FileIdentity) -> Manifest | None:
    """The manifest that was opened in another process, by its second name."""
    # A hard link, and the deletion of the first name, change the ctime.
    without_status = opened.without_status()
    if (
        opened.path != f"{store.path}/{manifests.KEY}"
        or store.identity(manifests.KEY) == without_status
    ):
        return None
    from voxarray.archive.generations import replaced_manifests  # seldom needed; it loads writers

    for key in reversed(replaced_manifests(store.path).values()):
        try:
            if replace(store.identity(key), path=opened.path) == without_status:
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
    handle = _at_hand(name)
    if handle is not None:
        return handle
    with _opening[hash(name) % len(_opening)]:  # of many threads that need it, one opens it
        handle = _at_hand(name)
        if handle is None:
            handle = _open(store, opened, key, chunks)
            with _lock:
                _shards[name] = handle
                # Dropped, not closed: a thread that reads from a shard goes on, and the last
                # reference closes it.
                allowance = descriptors.allowance()
                while len(_shards) > allowance:
                    _shards.popitem(last=False)
    return handle


def at_hand(opened: Hashable, key: str) -> ShardHandle | None:
    """The shard at ``key`` if it is open."""
    return _at_hand((opened, key))


def _at_hand(name: tuple[Hashable, str]) -> ShardHandle | None:
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
    """Raise as `shard` does if a shard is missing or damaged; it is not kept open."""
    _open(store, opened, key, chunks)


def _open(store: Store, opened: Hashable, key: str, chunks: int) -> ShardHandle:
    entry = manifest(store, opened).shard(key, store.path)
    expected = entry.size
    unasked = None if entry.tail is None else store.open_known(key, expected)
    if unasked is not None:  # the digest of its tail says whether it is the one that was written
        # Meanwhile a thread asks whether the archive is still the one that was opened.
        current = thread_pools.waiting_pool().submit(_require_unchanged, store, opened, key)
        try:
            handle = ShardHandle(
                unasked, ShardIndex.read(unasked, chunks, entry.tail, f"{store.path}/{key}")
            )
            current.result()
            return handle
        except VoxarrayError:  # below, one request after the other finds out what is wrong
            unasked.close()
    _require_unchanged(store, opened, key)
    blob = store.open(key)
    try:
        path = f"{store.path}/{key}"
        if blob.size != expected:
            raise ArchiveError(
                f"{path} has {blob.size} bytes, but {expected} were written: it is damaged or was "
                f"not copied whole; restore it, or {MAKE_AGAIN}",
                code="TRUNCATED" if blob.size < expected else "BAD_SIZE",
                path=store.path,
            )
        return ShardHandle(blob, ShardIndex.read(blob, chunks, entry.tail, path))
    except BaseException:
        blob.close()
        raise


def require_current(store: Store, opened: Hashable, folder: str) -> None:
    """Refuse to read on from an archive that was replaced or deleted.

    Its cached bytes would still be intact, but outdated. Archives behind URLs are not asked about
    at every read; the bytes that are fetched from them are checked anyway.

    Args:
        store: Where the archive lies.
        opened: Its identity when it was opened.
        folder: The folder in it that is read.

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

    A zip that was rewritten in place may have the old size and modification time, but not the old
    ctime. New permissions, a hard link or a backup change the ctime, too; so if it differs, the
    manifests are compared, once for each ctime.
    """
    fd = opened.without_status().open()
    try:
        if os.fstat(fd).st_ctime_ns == opened.ctime_ns or not opened.ctime_ns:
            return
        current = FileIdentity.of(opened.path, fd)
    finally:
        os.close(fd)
    question = (opened, current, "")
    with _lock:
        agrees = _agreements.get(question)
    if agrees is None:
        former = _known(store, opened)
        digest = _digest_of(opened) if former is None else former.digest
        if digest is None:  # another process has read it, and only the times are known here
            os.close(opened.open())
            return
        try:
            agrees = digest == Manifest.read(ZipStore(current)).digest
        except (ArchiveError, FormatError):  # no longer an archive
            agrees = False
        _agree(question, agrees)
    if not agrees:
        raise _replaced(store)


def _require_unchanged(store: Store, opened: Hashable, key: str = "") -> None:
    """Raise `SourceChangedError` if an archive is not the one that was opened.

    Args:
        store: Where it lies.
        opened: Its identity when it was opened.
        key: Of the file in it that must be the same, or of a folder, with a final slash; empty if
            only the archive matters.
    """
    if isinstance(store, ZipStore):
        if isinstance(opened, FileIdentity):
            _require_same_zip(store, opened)
        return
    # Asked at every read, and nearly always nothing has changed: one stat shows it.
    if isinstance(store, TreeStore) and _is_as_opened(store, opened):
        return
    if isinstance(store, TreeStore) and not os.path.isdir(store.path):
        raise SourceChangedError(
            f"the archive {store.path} was deleted or renamed after it was opened: if it was "
            "renamed, open it under its new name",
            path=store.path,
        )
    for _ in range(_COMPARISONS):
        try:
            current = identity(store)
        except MissingDataError as error:
            raise SourceChangedError(error.message, path=store.path) from None
        is_same = current == opened or _is_the_same(store, opened, current, key)
        if is_same:
            return
        if is_same is False:
            break
    raise _replaced(store)


def _is_as_opened(store: TreeStore, opened: Hashable) -> bool:
    """Whether the manifest of a folder is the very file that was opened."""
    try:
        return FileIdentity.of(f"{store.path}/{manifests.KEY}") == opened
    except (VoxarrayError, OSError):  # the comparison below finds out what is wrong
        return False


def _is_the_same(store: Store, opened: Hashable, current: Hashable, key: str) -> bool | None:
    """Whether a file of an archive is unchanged, though label maps or notes came or went.

    None if the current manifest was replaced before it was read: then the caller asks again.
    """
    # Asked for every shard that is opened. The answer is cached for good, since either identity
    # stands for fixed bytes.
    question = (opened, current, key)
    with _lock:
        agrees = _agreements.get(question)
    if agrees is None:
        former = _known(store, opened)
        try:
            latest = _known(store, current) or _parsed(store, current)
        except (ArchiveError, FormatError):  # no longer a manifest
            return False
        if not latest:
            return None
        if former is None:
            agrees = _can_be(opened, current, latest)
        else:
            agrees = former.identity == latest.identity and _entries(former, key) == _entries(
                latest, key
            )
        _agree(question, agrees)
    return agrees


def _agree(question: tuple[Hashable, Hashable, str], agrees: bool) -> None:
    with _lock:
        _agreements[question] = agrees
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
