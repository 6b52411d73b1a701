"""What interrupted writers have left among an archive in a bucket, where no lock tells of them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

from voxarray.archive.foreign_folders import Read, left_by_writers
from voxarray.archive.layer_names import FOLDER, LIST, list_document, names_in
from voxarray.archive.manifest import Manifest
from voxarray.archive.replaceable import is_our_group
from voxarray.archive.replaced_manifests import generation_of
from voxarray.archive.root_prefix import LAYOUT, TOP, root_of


def layer_leftovers(keys: Iterable[str], manifest: Manifest, read: Read) -> set[str]:
    """Keys that writers have left there which were interrupted, or are still at work.

    Label maps that voxarray did not write are left out; their topmost document tells.

    Args:
        keys: Of all objects of the archive.
        manifest: Its manifest.
        read: Reads a small object.
    """
    root = root_of(manifest.files)
    unnamed = [key for key in keys if key not in manifest.files]
    leftovers = {
        key
        for key in unnamed
        if (number := generation_of(key)) is not None and number >= manifest.generation
    }
    for name in names_in(unnamed, root):
        folder = f"{root}{FOLDER}/{name}/"
        layer_keys = [key for key in unnamed if key.startswith(folder)]
        if _is_ours(layer_keys, root, read(folder + TOP)):
            leftovers |= set(layer_keys)
    leftovers |= left_by_writers(unnamed, root, read)
    if root + LIST in unnamed and is_own_list(read(root + LIST)):
        leftovers.add(root + LIST)
    return leftovers


def old_list(manifest: Manifest, read: Read) -> dict[str, str]:
    """The key of OME-Zarr's list with a remark, if the list is that of another generation.

    Args:
        manifest: Of the archive.
        read: Reads a small object.
    """
    root = root_of(manifest.files)
    names = names_in(manifest.files, root)
    stored_list = read(root + LIST) if names else None
    if (
        not names
        or stored_list == list_document(names)
        or (stored_list is not None and not is_own_list(stored_list))
    ):
        return {}
    remark = (
        "the OME-Zarr list of label maps is outdated or too new: an unfinished "
        "change of the archive had not updated it yet, or had updated it already"
    )
    return {root + LIST: remark}


def is_own_list(data: bytes | None) -> bool:
    """Whether bytes are a list of label maps as voxarray writes it."""
    try:
        names = json.loads(data or b"")["attributes"]["ome"]["labels"]
        return data == list_document(names)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _is_ours(keys: Collection[str], root: str, top: bytes | None) -> bool:
    # The topmost document is created first and deleted last, and nothing can be read without it:
    # so objects without one are leftovers of ours, if all their keys have our layout.
    return (top is None or is_our_group(top)) and all(
        LAYOUT.fullmatch(key[len(root) :]) for key in keys
    )
