"""Publishing a change of an archive: label maps and notes come and go, the base is never rewritten.

A generation is published by replacing ``manifest.json``; all files that the new one names are there
before. On file systems that happens under the lock of the manifest that is replaced (see
`voxarray.storage.swap_lock`), in these steps::

    generations/7.json         a second name of the manifest: only one writer can make it
    generations/next.json      the next manifest
    labels/tumour/...          moved in, whole
    labels/zarr.json           OME-Zarr's list, replaced
    manifest.json              replaced by next.json: this step publishes the change

A writer that is killed before the last step leaves the old generation in force, and traces, which
`interrupted` finds and the next writer removes; nothing else in ``labels`` is ever deleted. For
buckets see `voxarray.archive.bucket_layers`.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack, suppress

from voxarray.archive import layer_names
from voxarray.archive import manifest as manifests
from voxarray.archive.layer_changes import Change, replaced_meanwhile
from voxarray.archive.layer_names import FOLDER, LIST
from voxarray.archive.manifest import FileEntry, Manifest
from voxarray.core.disk import sync
from voxarray.core.errors import ArchiveError, FormatError, VoxarrayError
from voxarray.storage.atomic_write import keep_mode
from voxarray.storage.folder_lock import random_identity
from voxarray.storage.store import TreeStore
from voxarray.storage.swap_lock import swap_lock

REPLACED = "generations"
"""Folder of the manifests that were replaced; what was done to voxels is in `core.history`."""

NEXT = f"{REPLACED}/next.json"

KEPT = 8
"""How many replaced manifests are kept, besides the first, which proves the archive's identity."""


def publish_change(root: str, change: Change, work: str, identity: str | None = None) -> Manifest:
    """Apply a change to an archive in a local folder, and publish the result.

    Args:
        root: The archive.
        change: Its new label maps are written and synced below ``work/labels`` already.
        work: A folder of this process alone, on the same file system; removed label maps are moved
            there.
        identity: Of the archive that the change is for; None for any archive that is there.

    Returns:
        The new manifest.

    Raises:
        SourceChangedError: If another archive is there by now.
        VoxarrayError: As `Change.apply`; ``BUSY`` while others hold the lock; ``INTERRUPTED`` where
            no lock tells whether another writer is at work; ``FOREIGN_FILES`` where others have
            written into ``labels``. The archive is as it was.
        OSError: What the disk refuses; the archive is as it was.
    """
    published = None
    while published is None:
        with swap_lock(f"{root}/{manifests.KEY}") as is_locked:
            published = _attempt(root, change, work, is_locked, identity)
    try:
        sync(root)
    except OSError as error:
        raise _unsynced(root, error) from error
    # The change is published: what cannot be removed now, the next writer removes.
    with suppress(OSError, VoxarrayError):
        _tidy(root, published, change, work)
    return published


def _attempt(
    root: str, change: Change, work: str, is_locked: bool, identity: str | None
) -> Manifest | None:
    """The new manifest; None if another writer was quicker."""
    current = Manifest.read(TreeStore(root))
    if identity is not None and current.identity != identity:
        raise replaced_meanwhile(root)
    if is_locked:
        mend(root, current, work)
    # Applied in each attempt: another writer may have changed the manifest that this builds on.
    successor = change.apply(current, root)
    # Before anything moves: a label map must not be moved onto files of others.
    _require_own(root, current)
    undo = ExitStack()
    try:
        # The one step that decides between two writers where the file system has no locks.
        if not _claim(root, current, undo):
            if Manifest.read(TreeStore(root)).generation == current.generation:
                raise _undecided(root)
            return None
        # Before the label maps: if this writer is killed, `mend` finds by it which ones were moved.
        _put(root, NEXT, successor.to_bytes(), work, undo)
        for name in change.added:
            _move(f"{work}/{FOLDER}/{name}", f"{root}/{FOLDER}/{name}", undo)
        # When the last label map is removed, the list is deleted later, in `_tidy`: until then it
        # makes ``labels`` a Zarr group.
        if LIST in successor.files and successor.files[LIST] != current.files.get(LIST):
            _put_list(root, successor, work, undo)
        # Folder entries must be on disk before the manifest that names them: after a power loss the
        # manifest could be there without its files.
        for folder in (f"{root}/{FOLDER}", f"{root}/{REPLACED}"):
            if os.path.isdir(folder):
                sync(folder)
        keep_mode(f"{root}/{NEXT}", f"{root}/{manifests.KEY}")
        # This publishes: readers see the old generation before it, and the new one after it.
        os.replace(f"{root}/{NEXT}", f"{root}/{manifests.KEY}")
    except BaseException:
        # Ctrl-C may come right after publishing, and then nothing must be undone.
        if _bytes(f"{root}/{manifests.KEY}") != successor.to_bytes():
            undo.close()
        raise
    return successor


def _tidy(root: str, published: Manifest, change: Change, work: str) -> None:
    """Remove label maps that left the archive, and manifests older than `KEPT` generations."""
    # The first lock was that of the old manifest. Another writer may hold that of the new one
    # already, so it is taken, too.
    with swap_lock(f"{root}/{manifests.KEY}") as is_locked:
        current = Manifest.read(TreeStore(root))
        if current.identity != published.identity:
            return  # another archive has replaced this one
        if is_locked:
            mend(root, current, work)
        else:  # no lock, but nobody can add a label map whose folder is still there
            for name in change.removed:
                os.rename(f"{root}/{FOLDER}/{name}", f"{work}/{random_identity()}")
            if change.removed and LIST not in published.files:
                os.unlink(f"{root}/{LIST}")
                _rmdir(f"{root}/{FOLDER}")
    for number, key in replaced_manifests(root).items():
        if 0 < number < published.generation - KEPT:
            with suppress(FileNotFoundError):
                os.unlink(f"{root}/{key}")


def mend(root: str, current: Manifest, work: str) -> None:
    """Remove what a killed writer has left; called under the lock that excludes all others.

    Args:
        root: The archive.
        current: Its manifest.
        work: Folder to which label maps are moved that the manifest does not name.
    """
    for name in _orphans(root, current):
        os.rename(f"{root}/{FOLDER}/{name}", f"{work}/{random_identity()}")
    names = layer_names.names_in(current.files)
    if names:
        expected = layer_names.list_document(names)
        if _bytes(f"{root}/{LIST}") != expected and _is_former_list(root, current):
            with ExitStack() as undo:
                _put(root, LIST, expected, work, undo)
                undo.pop_all()
    elif _is_former_list(root, current):
        os.unlink(f"{root}/{LIST}")
    if not names:
        _rmdir(f"{root}/{FOLDER}")
    for key in (NEXT, f"{REPLACED}/{current.generation}.json"):
        with suppress(FileNotFoundError):
            os.unlink(f"{root}/{key}")
    _rmdir(f"{root}/{REPLACED}")


def interrupted(root: str, current: Manifest) -> dict[str, str]:
    """Traces of a writer that was killed or is still at work: text by key in the archive."""
    traces = {
        f"{FOLDER}/{name}": f"the label map {name!r} was being added or removed"
        for name in _orphans(root, current)
    }
    if os.path.lexists(f"{root}/{NEXT}"):
        traces[NEXT] = f"change {current.generation + 1} of the archive was about to take effect"
    if os.path.lexists(f"{root}/{REPLACED}/{current.generation}.json"):
        key = f"{REPLACED}/{current.generation}.json"
        traces[key] = f"the archive, as it is after change {current.generation}, was being replaced"
    names = layer_names.names_in(current.files)
    stored_list = _bytes(f"{root}/{LIST}")
    expected = layer_names.list_document(names) if names else None
    if stored_list is not None and stored_list != expected and _is_former_list(root, current):
        traces[LIST] = (
            "the OME-Zarr list of label maps is outdated or too new: an unfinished "
            "change of the archive had not updated it yet, or had updated it already"
        )
    return traces


def replaced_manifests(root: str) -> dict[int, str]:
    """Keys of the manifests that were replaced and are kept, by generation."""
    try:
        names = os.listdir(f"{root}/{REPLACED}")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    # `int` also takes digits of other scripts, and `isdecimal` does not refuse them.
    numbers = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return {
        int(n): f"{REPLACED}/{n}.json" for n in sorted(numbers) if n.isdecimal() and n.isascii()
    }


def _neighbours(root: str, current: Manifest) -> list[Manifest]:
    """The manifests of the generation before, and of the next one, which was not published."""
    manifests_read = []
    for key in (NEXT, f"{REPLACED}/{current.generation - 1}.json"):
        raw = _bytes(f"{root}/{key}")
        if raw is not None:
            with suppress(FormatError, ArchiveError):
                manifests_read.append(Manifest.parse(raw, root))
    # A user may have copied replaced manifests from another archive.
    return [neighbour for neighbour in manifests_read if neighbour.identity == current.identity]


def _orphans(root: str, current: Manifest) -> list[str]:
    """Label maps that the generation before or after names, and this one does not."""
    names = set(layer_names.names_in(current.files))
    neighbouring_names = {
        name
        for neighbour in _neighbours(root, current)
        for name in layer_names.names_in(neighbour.files)
    }
    return sorted(n for n in neighbouring_names - names if os.path.isdir(f"{root}/{FOLDER}/{n}"))


def _is_former_list(root: str, current: Manifest) -> bool:
    """Whether OME-Zarr's list is that of the generation before or after; else others wrote it."""
    stored_list = _bytes(f"{root}/{LIST}")
    if stored_list is None:
        return LIST in current.files
    entry = FileEntry.of(stored_list)
    return any(neighbour.files.get(LIST) == entry for neighbour in _neighbours(root, current))


def _require_own(root: str, current: Manifest) -> None:
    """Raise `ArchiveError` (``FOREIGN_FILES``) if others have put files into ``labels``."""
    try:
        present = set(os.listdir(f"{root}/{FOLDER}")) - {"zarr.json"}
        if os.path.islink(f"{root}/{FOLDER}"):
            present.add("")
    except FileNotFoundError:
        return
    names = layer_names.names_in(current.files)
    foreign = sorted(present - set(names))
    stored_list = _bytes(f"{root}/{LIST}")
    if not foreign and (
        stored_list is None or FileEntry.of(stored_list) == current.files.get(LIST)
    ):
        return
    example = f"{FOLDER}/{foreign[0]}" if foreign else LIST
    raise ArchiveError(
        f"{root} holds {example}, which does not come from voxarray: move it out of the archive "
        "(add_labels can then add it as a label map). If a writer was interrupted, run voxarray "
        "clean instead",
        code="FOREIGN_FILES",
        path=root,
    )


def _claim(root: str, current: Manifest, undo: ExitStack) -> bool:
    """Give the manifest its name as a replaced one; only one writer can, and False for others."""
    os.makedirs(f"{root}/{REPLACED}", exist_ok=True)
    undo.callback(_rmdir, f"{root}/{REPLACED}")
    replaced_path = f"{root}/{REPLACED}/{current.generation}.json"
    try:
        # A link fails if the name is taken, also on NFS; a rename would replace the other writer's.
        os.link(f"{root}/{manifests.KEY}", replaced_path)
    except FileExistsError:
        return False
    except OSError:  # no links on this file system
        try:
            with open(replaced_path, "xb") as file:
                file.write(current.to_bytes())
        except FileExistsError:
            return False
    undo.callback(os.unlink, replaced_path)
    return True


def _put(root: str, key: str, data: bytes, work: str, undo: ExitStack) -> None:
    """Write a small file in one step, synced before it gets its name."""
    # Written in the work folder: if this process is killed here, nothing is left in the archive.
    partial = f"{work}/{random_identity()}"
    with open(partial, "xb") as file:
        file.write(data)
    sync(partial)
    os.makedirs(os.path.dirname(f"{root}/{key}"), exist_ok=True)
    os.replace(partial, f"{root}/{key}")
    undo.callback(os.unlink, f"{root}/{key}")


def _put_list(root: str, successor: Manifest, work: str, undo: ExitStack) -> None:
    path, former = f"{root}/{LIST}", ""
    if os.path.lexists(path):
        former = f"{work}/{random_identity()}"
        shutil.copy2(path, former)  # now, so that undoing needs no space on a full disk
    with ExitStack() as forget:
        _put(
            root,
            LIST,
            layer_names.list_document(layer_names.names_in(successor.files)),
            work,
            forget,
        )
        forget.pop_all()
    undo.callback(*((os.replace, former, path) if former else (os.unlink, path)))


def _move(source: str, destination: str, undo: ExitStack) -> None:
    folder = os.path.dirname(destination)
    os.makedirs(folder, exist_ok=True)
    undo.callback(_rmdir, folder)
    os.rename(source, destination)
    undo.callback(os.rename, destination, source)


def _rmdir(folder: str) -> None:
    with suppress(OSError):  # somebody else has put something there
        os.rmdir(folder)


def _bytes(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _unsynced(root: str, error: OSError) -> ArchiveError:
    return ArchiveError(
        f"{root} is changed, but its folder cannot be synced to the disk ({error}). A power loss "
        "may undo the change: after one, check the archive",
        code="NOT_SYNCED",
        path=root,
    )


def _undecided(root: str) -> ArchiveError:
    return ArchiveError(
        f"another process is changing {root}, or was killed while it did so; this file system has "
        "no lock that shows which. Try again. If no process writes to the archive, run voxarray "
        "clean --unlocked on it",
        code="INTERRUPTED",
        path=root,
    )
