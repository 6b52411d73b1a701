"""Where in its place an archive lies: at its top, or in buckets below a folder of its own.

An object that may be part of a published archive is never changed and never replaced, so that two
writers cannot mix what they write. Who finds a key taken by other bytes, or writes over an archive,
therefore puts a whole archive below ``generations/<16 hex digits>/``, and the manifest, which is
replaced in one step, names the keys there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from voxarray.archive import documents
from voxarray.storage.folder_lock import random_identity

LAYOUT = re.compile(
    r"(labels/[^/]+/)?(zarr\.json|(nifti|scale\d+|label_counts|weight_sums)/.+)|labels/zarr\.json"
)
"""Keys of an archive whose manifest cannot be read."""

_ROOT = re.compile(r"generations/[0-9a-f]{16}/")
_MARKS = re.compile(r"generations/[0-9a-f]{16}/(borrowed|withdrawn)")
TOP = "zarr.json"
"""The topmost document."""


def new_root() -> str:
    """A folder that no other writer has, with its final slash."""
    return f"generations/{random_identity()}/"


def is_borrowed_mark(key: str) -> bool:
    """Whether somebody counts on objects at the top that another writer has put."""
    return bool(_MARKS.fullmatch(key)) and key.endswith("/borrowed")


def is_withdrawn_mark(key: str) -> bool:
    """Whether somebody is about to delete the objects that it has put at the top."""
    return bool(_MARKS.fullmatch(key)) and key.endswith("/withdrawn")


def root_of(files: Collection[str]) -> str:
    """What the keys of an archive begin with, by those that its manifest names."""
    if TOP in files:
        return ""
    return next((of_key(key) for key in files if plain(key) == TOP), "")


def of_key(key: str) -> str:
    """The root that a key is in."""
    found = _ROOT.match(key)
    return found[0] if found else ""


def is_leftover(key: str, root: str) -> bool:
    """Whether a file is one that a writer of an archive left, which is not the one at a root."""
    if _MARKS.fullmatch(key):
        return True
    return of_key(key) != root and bool(LAYOUT.fullmatch(plain(key)))


def plain(prefix: str) -> str:
    """A key as it is in an archive at the top."""
    return prefix[len(of_key(prefix)) :]


def signpost(document: bytes, root: str) -> bytes:
    """The topmost document for other readers of OME-Zarr, whose levels are in another folder.

    Args:
        document: ``zarr.json`` of the archive.
        root: Where the archive is.
    """
    content: dict[str, Any] = json.loads(document)
    for image in content["attributes"]["ome"]["multiscales"]:
        for level in image["datasets"]:
            level["path"] = root + level["path"]
    return documents.dump(content)
