"""Publishing an archive anew: label maps and notes come and go, and the base is never rewritten.

A generation is published by putting another ``manifest.json`` in the place of the old one; all that
it names is there before. On file systems that happens under the lock of the manifest that is
replaced (see `voxarray.storage.swap_lock`), in these steps::

    generations/7.json         a second name of the manifest: only one writer can make it
    generations/next.json      the manifest to be
    labels/tumour/...          moved in, whole
    labels/zarr.json           OME-Zarr's list, exchanged
    manifest.json              exchanged for next.json: now, and not before, it is there

What is killed on the way leaves the generation that it found, and traces that `interrupted` sees
and that the next writer takes away; nothing else in ``labels`` is ever deleted. For buckets see
`voxarray.archive.bucket_layers`.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack, suppress

from voxarray.archive import layer_names
from voxarray.archive import manifest as manifests
from voxarray.archive.changes import Change, replaced_meanwhile
from voxarray.archive.layer_names import FOLDER, LIST
from voxarray.archive.manifest import FileEntry, Manifest
from voxarray.core.disk import sync
from voxarray.core.errors import ArchiveError, FormatError, VoxarrayError
from voxarray.storage.atomic_write import keep_mode
from voxarray.storage.folder_lock import random_identity
from voxarray.storage.store import TreeStore
from voxarray.storage.swap_lock import swap_lock

HISTORY = "generations"
NEXT = f"{HISTORY}/next.json"

KEPT = 8
"""Replaced manifests that are kept, and the first: it proves the identity of the archive."""


def publish_change(root: str, change: Change, work: str, identity: str | None = None) -> Manifest:
    """Publish the generation that a change makes of an archive in a local folder.

    Args:
        root: The archive.
        change: Of which the new label maps are written and synced below ``work/labels``.
        work: A folder of this process alone, on the same file system; what leaves the archive goes
            there.
        identity: Of the archive that the change is for; None for whatever is there.

    Returns:
        The new manifest.

    Raises:
        SourceChangedError: If another archive is there by now.
        VoxarrayError: As `Change.apply`; ``BUSY`` while others hold the lock; ``INTERRUPTED`` where
            no lock tells whether another writer is at work; ``FOREIGN_FILES`` where others have
            written into ``labels``. The archive is as it was.
        OSError: What the disk refuses; the archive is as it was.
    """
    made = None
    while made is None:
        with swap_lock(f"{root}/{manifests.KEY}") as alone:
            made = _attempt(root, change, work, alone, identity)
    try:
        sync(root)
    except OSError as error:
        raise _unsynced(root, error) from error
    with suppress(OSError, VoxarrayError):  # published it is: what stays, the next one takes away
        _tidy(root, made, change, work)
    return made


def _attempt(
    root: str, change: Change, work: str, alone: bool, identity: str | None
) -> Manifest | None:
    """The new manifest; None if another writer was quicker."""
    now = Manifest.read(TreeStore(root))
    if identity is not None and now.identity != identity:
        raise replaced_meanwhile(root)
    if alone:
        mend(root, now, work)
    # Anew in each attempt: a writer that was quicker may have changed what this change builds on.
    made = change.apply(now, root)
    # Before anything moves: a label map must not land on what no manifest names.
    _require_own(root, now)
    undo = ExitStack()
    try:
        # The one step that decides between two writers where the file system has no locks.
        if not _claim(root, now, undo):
            if Manifest.read(TreeStore(root)).generation == now.generation:
                raise _undecided(root)
            return None
        # Before the label maps themselves: by it `mend` knows which of them a killed writer moved.
        _put(root, NEXT, made.to_bytes(), work, undo)
        for name in change.added:
            _move(f"{work}/{FOLDER}/{name}", f"{root}/{FOLDER}/{name}", undo)
        # Without its last label map the list goes later: by it ``labels`` is a folder of Zarr.
        if LIST in made.files and made.files[LIST] != now.files.get(LIST):
            _put_list(root, made, work, undo)
        # The names must be on disk before the manifest that promises them.
        for folder in (f"{root}/{FOLDER}", f"{root}/{HISTORY}"):
            if os.path.isdir(folder):
                sync(folder)
        keep_mode(f"{root}/{NEXT}", f"{root}/{manifests.KEY}")
        # The step that counts: a reader has the old generation before it, and the new one after it.
        os.replace(f"{root}/{NEXT}", f"{root}/{manifests.KEY}")
    except BaseException:
        # Ctrl-C may come right after the step that counts.
        if _bytes(f"{root}/{manifests.KEY}") != made.to_bytes():
            undo.close()
        raise
    return made


def _tidy(root: str, made: Manifest, change: Change, work: str) -> None:
    """Take away what was removed, and manifests of long ago."""
    # The lock went with the manifest that was replaced: who has the new one may be adding already.
    with swap_lock(f"{root}/{manifests.KEY}") as alone:
        now = Manifest.read(TreeStore(root))
        if now.identity != made.identity:
            return  # another archive by now, and all of it is its own
        if alone:
            mend(root, now, work)
        else:  # nobody can add what is still in the way
            for name in change.removed:
                os.rename(f"{root}/{FOLDER}/{name}", f"{work}/{random_identity()}")
            if change.removed and LIST not in made.files:
                os.unlink(f"{root}/{LIST}")
                _rmdir(f"{root}/{FOLDER}")
    for number, key in history(root).items():
        if 0 < number < made.generation - KEPT:
            with suppress(FileNotFoundError):
                os.unlink(f"{root}/{key}")


def mend(root: str, now: Manifest, work: str) -> None:
    """Take away what a killed writer has left; called under the lock that excludes all others.

    Args:
        root: The archive.
        now: Its manifest.
        work: Where label maps go that no manifest names any more.
    """
    for name in _orphans(root, now):
        os.rename(f"{root}/{FOLDER}/{name}", f"{work}/{random_identity()}")
    names = layer_names.names_in(now.files)
    if names:
        expected = layer_names.list_document(names)
        if _bytes(f"{root}/{LIST}") != expected and _is_former_list(root, now):
            with ExitStack() as undo:
                _put(root, LIST, expected, work, undo)
                undo.pop_all()
    elif _is_former_list(root, now):
        os.unlink(f"{root}/{LIST}")
    if not names:
        _rmdir(f"{root}/{FOLDER}")
    for key in (NEXT, f"{HISTORY}/{now.generation}.json"):
        with suppress(FileNotFoundError):
            os.unlink(f"{root}/{key}")
    _rmdir(f"{root}/{HISTORY}")


def interrupted(root: str, now: Manifest) -> dict[str, str]:
    """What a writer that was killed, or is at work, has left in an archive, by key."""
    found = {
        f"{FOLDER}/{name}": f"the label map {name!r} was being added or removed"
        for name in _orphans(root, now)
    }
    if os.path.lexists(f"{root}/{NEXT}"):
        found[NEXT] = f"change {now.generation + 1} of the archive was about to take effect"
    if os.path.lexists(f"{root}/{HISTORY}/{now.generation}.json"):
        key = f"{HISTORY}/{now.generation}.json"
        found[key] = f"the archive, as it is after change {now.generation}, was being replaced"
    names = layer_names.names_in(now.files)
    seen = _bytes(f"{root}/{LIST}")
    expected = layer_names.list_document(names) if names else None
    if seen is not None and seen != expected and _is_former_list(root, now):
        found[LIST] = (
            "OME-Zarr's list of label maps does not name the present ones, but those that the "
            "archive had before a change, or was to have after it"
        )
    return found


def history(root: str) -> dict[int, str]:
    """Keys of the manifests that were replaced and are kept, by generation."""
    try:
        names = os.listdir(f"{root}/{HISTORY}")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    # `int` takes the digits of other scripts, too, in which no generation is written.
    numbers = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return {int(n): f"{HISTORY}/{n}.json" for n in sorted(numbers) if n.isdecimal() and n.isascii()}


def _neighbours(root: str, now: Manifest) -> list[Manifest]:
    """The generation that was to come, and the one before."""
    found = []
    for key in (NEXT, f"{HISTORY}/{now.generation - 1}.json"):
        raw = _bytes(f"{root}/{key}")
        if raw is not None:
            with suppress(FormatError, ArchiveError):
                found.append(Manifest.parse(raw, root))
    # A history that came from another archive by hand says nothing of this one.
    return [one for one in found if one.identity == now.identity]


def _orphans(root: str, now: Manifest) -> list[str]:
    """Label maps that the generation before or after names, and this one does not."""
    names = set(layer_names.names_in(now.files))
    others = {name for one in _neighbours(root, now) for name in layer_names.names_in(one.files)}
    return sorted(n for n in others - names if os.path.isdir(f"{root}/{FOLDER}/{n}"))


def _is_former_list(root: str, now: Manifest) -> bool:
    """Whether the list is that of the generation before or after: others may have written it."""
    seen = _bytes(f"{root}/{LIST}")
    if seen is None:
        return LIST in now.files
    entry = FileEntry.of(seen)
    return any(one.files.get(LIST) == entry for one in _neighbours(root, now))


def _require_own(root: str, now: Manifest) -> None:
    """Refuse to write beside what others have put into ``labels``."""
    try:
        there = set(os.listdir(f"{root}/{FOLDER}")) - {"zarr.json"}
        if os.path.islink(f"{root}/{FOLDER}"):
            there.add("")
    except FileNotFoundError:
        return
    names = layer_names.names_in(now.files)
    foreign = sorted(there - set(names))
    listed = _bytes(f"{root}/{LIST}")
    if not foreign and (listed is None or FileEntry.of(listed) == now.files.get(LIST)):
        return
    shown = f"{FOLDER}/{foreign[0]}" if foreign else LIST
    raise ArchiveError(
        f"voxarray did not write {shown} of {root}: move it out of the archive (add_labels can "
        "then add it as a label map); or, if a writer was interrupted, run voxarray clean",
        code="FOREIGN_FILES",
        path=root,
    )


def _claim(root: str, now: Manifest, undo: ExitStack) -> bool:
    """Give the manifest its name in the history, as only one writer can; False for all others."""
    os.makedirs(f"{root}/{HISTORY}", exist_ok=True)
    undo.callback(_rmdir, f"{root}/{HISTORY}")
    place = f"{root}/{HISTORY}/{now.generation}.json"
    try:
        # A link fails where the name is taken, on NFS too; a rename would take it from its owner.
        os.link(f"{root}/{manifests.KEY}", place)
    except FileExistsError:
        return False
    except OSError:  # no links on this file system
        try:
            with open(place, "xb") as file:
                file.write(now.to_bytes())
        except FileExistsError:
            return False
    undo.callback(os.unlink, place)
    return True


def _put(root: str, key: str, data: bytes, work: str, undo: ExitStack) -> None:
    """Put a small file in its place in one step."""
    # In the folder of this process: killed here, it leaves nothing in the archive.
    partial = f"{work}/{random_identity()}"
    with open(partial, "xb") as file:
        file.write(data)
    sync(partial)
    os.makedirs(os.path.dirname(f"{root}/{key}"), exist_ok=True)
    os.replace(partial, f"{root}/{key}")
    undo.callback(os.unlink, f"{root}/{key}")


def _put_list(root: str, made: Manifest, work: str, undo: ExitStack) -> None:
    path, former = f"{root}/{LIST}", ""
    if os.path.lexists(path):
        former = f"{work}/{random_identity()}"
        shutil.copy2(path, former)  # a full disk must not keep the old list from coming back
    with ExitStack() as forget:
        _put(root, LIST, layer_names.list_document(layer_names.names_in(made.files)), work, forget)
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
        f"{root} is changed, but its folder cannot be synced ({error}): a power loss could undo "
        "the change, so check it then",
        code="NOT_SYNCED",
        path=root,
    )


def _undecided(root: str) -> ArchiveError:
    return ArchiveError(
        f"another process is changing {root}, or was killed while it did so; this file system has "
        "no lock that shows which. Try again. If nobody writes there, run voxarray "
        "clean --unlocked on it",
        code="INTERRUPTED",
        path=root,
    )
