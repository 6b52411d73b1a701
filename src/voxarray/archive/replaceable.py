"""Checks before overwriting: only an archive that voxarray wrote may be deleted."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator
from typing import Any

from voxarray.archive import manifest as manifests
from voxarray.archive.foreign_folders import Read, left_by_writers
from voxarray.archive.metadata import KEY
from voxarray.archive.root_prefix import LAYOUT, TOP, root_of
from voxarray.core.errors import ArchiveExistsError
from voxarray.storage.file_identity import refuse_special
from voxarray.storage.litter_names import is_litter

_OWN = re.compile(r"manifest\.json|generations/.+|labels/zarr\.json")
"""Keys that no manifest names."""

_EXAMPLES = 3
"""Foreign files that an error names."""


def require_replaceable(path: str) -> None:
    """Refuse to overwrite a folder, if that would delete files that voxarray did not write.

    Raises:
        ArchiveExistsError: It is no archive of ours (``NOT_AN_ARCHIVE``), or it holds other files,
            too (``FOREIGN_FILES``).
        UnsupportedError: It is a device, a pipe or a socket (``NOT_A_FILE``).
    """
    if not os.path.isdir(path):
        if os.path.exists(path):
            refuse_special(path, os.stat(path).st_mode)
        return
    if not os.listdir(path):
        return
    named_keys = _named(path)
    if named_keys is None and not _is_ours(path):
        raise ArchiveExistsError(
            f"{path} is not an archive that voxarray wrote, and overwriting would delete all files "
            "in this folder: choose another name, or delete the folder yourself",
            code="NOT_AN_ARCHIVE",
            path=path,
        )
    _refuse_foreign(path, [key for key in _keys(path) if not _is_known(key, named_keys)])


def require_replaceable_keys(
    url: str,
    keys: Collection[str],
    named: set[str] | None,
    read: Read,
    top: bytes | None = None,
) -> None:
    """As `require_replaceable`, for objects below a place in a bucket.

    Args:
        url: The place.
        keys: Of all objects there.
        named: Keys that our manifest names; None if there is no manifest of ours.
        read: Reads a small object there.
        top: Content of ``zarr.json``, if that exists and a manifest does not.

    Raises:
        ArchiveExistsError: As `require_replaceable`.
    """
    if top is not None and not is_our_group(top):
        raise ArchiveExistsError(
            f"{url} holds a Zarr store that voxarray did not write, and the new archive would be "
            "mixed with it: choose another name, or delete the store yourself",
            code="NOT_AN_ARCHIVE",
            path=url,
        )
    root = root_of(named or ())
    # Without a manifest of ours, `_is_known` takes all keys of the layout for ours.
    unnamed = [] if named is None else [key for key in keys if key not in named]
    known = {*left_by_writers(unnamed, root, read), *((TOP,) if root else ())}
    _refuse_foreign(url, [key for key in keys if key not in known and not _is_known(key, named)])


def _refuse_foreign(path: str, foreign: list[str]) -> None:
    if foreign:
        more = f" and {len(foreign) - _EXAMPLES} more" if len(foreign) > _EXAMPLES else ""
        raise ArchiveExistsError(
            f"{path} holds files that voxarray did not write, and overwriting would delete them: "
            f"{', '.join(foreign[:_EXAMPLES])}{more}. Move them, or choose another name",
            code="FOREIGN_FILES",
            path=path,
        )


def _named(path: str) -> set[str] | None:
    """Keys that the manifest names; None if there is none of ours that can be read."""
    content = _json(os.path.join(path, manifests.KEY))
    if isinstance(content, dict) and content.get("format") == manifests.FORMAT:
        files = content.get("files")
        if isinstance(files, dict):
            return set(files)
    return None


def _is_ours(path: str) -> bool:
    """Whether voxarray wrote an archive that is damaged or incomplete."""
    try:
        with open(os.path.join(path, manifests.KEY), "rb") as file:
            if file.read(len(manifests.BEGINNING)) == manifests.BEGINNING:
                return True
    except OSError:
        pass
    try:
        with open(os.path.join(path, "zarr.json"), "rb") as file:
            return is_our_group(file.read())
    except OSError:
        return False


def is_our_group(document: bytes) -> bool:
    """Whether a document is that of the topmost group of an archive that voxarray wrote."""
    try:
        root = json.loads(document)
    except (ValueError, RecursionError):
        return False
    attributes = root.get("attributes") if isinstance(root, dict) else None
    own = attributes.get(KEY) if isinstance(attributes, dict) else None
    return isinstance(own, dict) and "affine" in own


def _is_known(key: str, named: set[str] | None) -> bool:
    if _OWN.fullmatch(key) or is_litter(key):
        return True
    if named is not None and key in named:
        return True
    # No manifest names a label map whose addition was interrupted.
    return (named is None or key.startswith("labels/")) and bool(LAYOUT.fullmatch(key))


def _keys(path: str) -> Iterator[str]:
    """Files below a folder; links to folders count as files: their targets stay."""
    for folder, folders, files in os.walk(path):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in (*files, *links):
            yield os.path.relpath(os.path.join(folder, name), path).replace(os.sep, "/")


def _json(path: str) -> Any:
    try:
        with open(path, "rb") as file:
            return json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return None
