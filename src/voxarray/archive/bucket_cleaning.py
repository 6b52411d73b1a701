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
from voxarray.archive.roots import LAYOUT, TOP, is_leftover, of_key, plain, root_of
from voxarray.core.errors import VoxarrayError
from voxarray.storage.folder_lock import Ownership
from voxarray.storage.remote.objects import Stamp
from voxarray.storage.remote.writing import WritableObjects
from voxarray.storage.store import SMALL

_ENDS = (".zarr/",)


def clean_bucket(url: str, *, unlocked: bool, dry_run: bool) -> list[Leftover]:
    """Remove the objects of archives that were never finished, and those that were replaced.

    Lists of label maps that are of another generation are put anew. In a bucket there are no locks:
    whose they are nobody can tell.

    Args:
        url: A place in a bucket: an archive, a cohort or anything above.
        unlocked: Whether they go. To be said only while nobody writes there.
        dry_run: Whether to look only.

    Returns:
        What was found, one for each archive and folder of objects in it, sorted.

    Raises:
        UnsupportedError: It is no place in a bucket (``UNSUPPORTED_DESTINATION``).
        AccessDeniedError, TransportError: What the store refuses.
    """
    place = WritableObjects.at(url)
    stamps, may_write = place.stamps(), unlocked and not dry_run
    found = []
    for folder, keys in sorted(_archives(stamps, place.objects.address.path).items()):
        archive = place.below(folder.rstrip("/")) if folder else place
        manifest = _manifest(archive)
        if manifest is None:
            continue
        for key in old_list(manifest, _reader(archive)):
            size = stamps[folder + key].size if folder + key in stamps else 0
            seen = Leftover(f"{place.url}/{folder}{key}", Ownership.UNKNOWN, size)
            found.append(_renewed(archive, key, manifest, seen) if may_write else seen)
        for root, some in sorted(_left(archive, manifest, folder, keys).items()):
            where = f"{place.url}/{folder}{root}".rstrip("/")
            size = sum(stamps[key].size for key in some)
            seen = Leftover(where, Ownership.UNKNOWN, size)
            found.append(_removed(place, some, seen) if may_write else seen)
    return found


def _archives(stamps: Mapping[str, Stamp], path: str) -> dict[str, list[str]]:
    """Keys by the archive that they are in, which is named by its folder with a final slash."""
    found: dict[str, list[str]] = {}
    for key in stamps:
        whole = f"{path}/{key}"
        ends = [whole.lower().find(end) + len(end) for end in _ENDS if end in whole.lower()]
        if ends:
            found.setdefault(whole[len(path) + 1 : min(ends)], []).append(key)
    return found


def _left(
    archive: WritableObjects, manifest: Manifest, folder: str, keys: list[str]
) -> dict[str, list[str]]:
    """Keys of an archive that no manifest names, by the root that they are in."""
    inside = {key: key[len(folder) :] for key in keys}
    named, root = set(manifest.files), root_of(manifest.files)
    layers = layer_leftovers(inside.values(), manifest, _reader(archive)) if named else set()
    found: dict[str, list[str]] = {}
    for key, short in inside.items():
        is_stray = not named and bool(LAYOUT.fullmatch(plain(short)))
        is_signpost = bool(root) and short == TOP
        is_left = is_stray or short in layers or is_leftover(short, root)
        if short not in named and not is_signpost and is_left:
            found.setdefault(of_key(short), []).append(key)
    return found


def _reader(place: WritableObjects) -> Callable[[str], bytes | None]:
    def read(key: str) -> bytes | None:
        found = place.fetch(key)
        return None if found is None else found[0]

    return read


def _manifest(place: WritableObjects) -> Manifest | None:
    """The manifest; one that names nothing if there is none, None of what is not of ours."""
    manifest = place.fetch(manifests.KEY, SMALL)
    if manifest is None:
        top = place.fetch(TOP, SMALL)
        return Manifest({}, {}) if top is None or is_our_group(top[0]) else None
    try:
        return Manifest.parse(manifest[0], place.url)
    except VoxarrayError:  # a damaged one is no reason to delete what it named
        return None


def _renewed(place: WritableObjects, key: str, manifest: Manifest, seen: Leftover) -> Leftover:
    try:
        place.put(key, list_document(names_in(manifest.files, root_of(manifest.files))))
    except VoxarrayError as error:
        return replace(seen, outcome="failed", problem=str(error))
    return replace(seen, outcome="restored")


def _removed(place: WritableObjects, keys: list[str], seen: Leftover) -> Leftover:
    try:
        place.delete(keys)
    except VoxarrayError as error:
        return replace(seen, outcome="failed", problem=str(error))
    return replace(seen, outcome="removed")
