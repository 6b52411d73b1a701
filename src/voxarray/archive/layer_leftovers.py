"""What interrupted writers of label maps have left in a bucket, where no lock tells of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable

from voxarray.archive.layer_names import FOLDER, LIST, list_document, names_in
from voxarray.archive.manifest import Manifest
from voxarray.archive.manifest_history import generation_of
from voxarray.archive.replaceable import is_our_group
from voxarray.archive.roots import LAYOUT, TOP, root_of

Read = Callable[[str], bytes | None]
"""Bytes of an object; None if there is none."""


def layer_leftovers(keys: Iterable[str], manifest: Manifest, read: Read) -> set[str]:
    """Keys of what writers of label maps have left that were interrupted, or are at work.

    Of a label map that is not of ours there are none: its topmost document says whose it is.

    Args:
        keys: Of all objects of the archive.
        manifest: Its manifest.
        read: Reads a small object.
    """
    root = root_of(manifest.files)
    unnamed = [key for key in keys if key not in manifest.files]
    found = {
        key
        for key in unnamed
        if (number := generation_of(key)) is not None and number >= manifest.generation
    }
    for name in names_in(unnamed, root):
        start = f"{root}{FOLDER}/{name}/"
        some = [key for key in unnamed if key.startswith(start)]
        if _is_ours(some, root, read(start + TOP)):
            found |= set(some)
    if root + LIST in unnamed and is_own_list(read(root + LIST)):
        found.add(root + LIST)
    return found


def old_list(manifest: Manifest, read: Read) -> dict[str, str]:
    """What is to be said of OME-Zarr's list, by its key, if it is one of another generation.

    Args:
        manifest: Of the archive.
        read: Reads a small object.
    """
    root = root_of(manifest.files)
    names = names_in(manifest.files, root)
    seen = read(root + LIST) if names else None
    if not names or seen == list_document(names) or (seen is not None and not is_own_list(seen)):
        return {}
    text = (
        "OME-Zarr's list of label maps does not name the present ones, but those that the archive "
        "had before a change, or was to have after it"
    )
    return {root + LIST: text}


def is_own_list(data: bytes | None) -> bool:
    """Whether some bytes are a list of label maps as we write them."""
    try:
        names = json.loads(data or b"")["attributes"]["ome"]["labels"]
        return data == list_document(names)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _is_ours(keys: Collection[str], root: str, top: bytes | None) -> bool:
    # Without that document nobody's label map can be read; it is the first to come, the last to go.
    return (top is None or is_our_group(top)) and all(
        LAYOUT.fullmatch(key[len(root) :]) for key in keys
    )
