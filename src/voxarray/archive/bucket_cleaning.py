"""What interrupted writers have left in a bucket: objects that belong to no published archive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from voxarray.archive import manifest as manifests
from voxarray.archive.layer_leftovers import layer_leftovers, old_list
from voxarray.archive.layer_names import list_document, names_in
from voxarray.archive.leftovers import Leftover
from voxarray.archive.manifest import Manifest
from voxarray.archive.replaceable import is_our_group
from voxarray.archive.root_prefix import LAYOUT, TOP, is_leftover, of_key, plain, root_of
from voxarray.core.errors import VoxarrayError
from voxarray.storage.folder_lock import Ownership
from voxarray.storage.remote.objects import Stamp
from voxarray.storage.remote.writing import WritableObjects
from voxarray.storage.store import SMALL

_ENDS = (".zarr/",)


def clean_bucket(url: str, *, unlocked: bool, dry_run: bool) -> list[Leftover]:
    """Remove the objects of archives that were never finished, and those that were replaced.

    Lists of label maps that are of another generation are written again. A bucket has no locks, so
    that nobody can tell whether the writer of an object still runs.

    Args:
        url: A place in a bucket: an archive, a cohort or anything above.
        unlocked: Whether to remove them. To be set only while nobody writes there.
        dry_run: Whether to look only.

    Returns:
        What was found, one for each archive and folder of objects in it, sorted.

    Raises:
        UnsupportedError: It is no place in a bucket (``UNSUPPORTED_DESTINATION``).
        AccessDeniedError, TransportError: What the store refuses.
    """
    bucket = WritableObjects.at(url)
    stamps, may_write = bucket.stamps(), unlocked and not dry_run
    leftovers = []
    for folder, keys in sorted(_archives(stamps, bucket.objects.address.path).items()):
        archive = bucket.below(folder.rstrip("/")) if folder else bucket
        manifest = _manifest(archive)
        if manifest is None:
            continue
        for key in old_list(manifest, _reader(archive)):
            size = stamps[folder + key].size if folder + key in stamps else 0
            leftover = Leftover(f"{bucket.url}/{folder}{key}", Ownership.UNKNOWN, size)
            leftovers.append(_renewed(archive, key, manifest, leftover) if may_write else leftover)
        for root, leftover_keys in sorted(_left(archive, manifest, folder, keys).items()):
            url_of_root = f"{bucket.url}/{folder}{root}".rstrip("/")
            size = sum(stamps[key].size for key in leftover_keys)
            leftover = Leftover(url_of_root, Ownership.UNKNOWN, size)
            leftovers.append(_removed(bucket, leftover_keys, leftover) if may_write else leftover)
    return leftovers


def _archives(stamps: Mapping[str, Stamp], path: str) -> dict[str, list[str]]:
    """Keys by the folder (with a final slash) of the archive that they are in."""
    keys_by_archive: dict[str, list[str]] = {}
    for key in stamps:
        full_path = f"{path}/{key}"
        ends = [full_path.lower().find(end) + len(end) for end in _ENDS if end in full_path.lower()]
        if ends:
            keys_by_archive.setdefault(full_path[len(path) + 1 : min(ends)], []).append(key)
    return keys_by_archive


def _left(
    archive: WritableObjects, manifest: Manifest, folder: str, keys: list[str]
) -> dict[str, list[str]]:
    """Keys of an archive that no manifest names, by the root that they are in."""
    inside = {key: key[len(folder) :] for key in keys}
    named_keys, root = set(manifest.files), root_of(manifest.files)
    layers = layer_leftovers(inside.values(), manifest, _reader(archive)) if named_keys else set()
    keys_by_root: dict[str, list[str]] = {}
    for key, relative in inside.items():
        is_stray = bool(LAYOUT.fullmatch(plain(relative))) or is_leftover(relative, root)
        is_signpost = bool(root) and relative == TOP
        is_left = relative in layers if named_keys else is_stray
        if relative not in named_keys and not is_signpost and is_left:
            keys_by_root.setdefault(of_key(relative), []).append(key)
    return keys_by_root


def _reader(bucket: WritableObjects) -> Callable[[str], bytes | None]:
    def read(key: str) -> bytes | None:
        answer = bucket.fetch(key)
        return None if answer is None else answer[0]

    return read


def _manifest(bucket: WritableObjects) -> Manifest | None:
    """The manifest of an archive.

    Returns:
        A manifest without files if there is none; None for what voxarray did not write, and for a
        damaged manifest.
    """
    stored = bucket.fetch(manifests.KEY, SMALL)
    if stored is None:
        top = bucket.fetch(TOP, SMALL)
        return Manifest({}, {}) if top is None or is_our_group(top[0]) else None
    try:
        return Manifest.parse(stored[0], bucket.url)
    except VoxarrayError:  # what it names is unknown, so nothing here may be deleted
        return None


def _renewed(bucket: WritableObjects, key: str, manifest: Manifest, leftover: Leftover) -> Leftover:
    try:
        bucket.put(key, list_document(names_in(manifest.files, root_of(manifest.files))))
    except VoxarrayError as error:
        return replace(leftover, outcome="failed", problem=str(error))
    return replace(leftover, outcome="restored")


def _removed(bucket: WritableObjects, keys: list[str], leftover: Leftover) -> Leftover:
    try:
        bucket.delete(keys)
    except VoxarrayError as error:
        return replace(leftover, outcome="failed", problem=str(error))
    return replace(leftover, outcome="removed")
