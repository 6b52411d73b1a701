"""The root of an archive: the top of its prefix, or, in buckets, a folder of its own below it.

An object that may be part of a published archive is never changed and never replaced, so that two
writers cannot mix their files. A writer that finds a key taken by other bytes, or overwrites an
archive, therefore puts a whole archive below ``generations/<16 hex digits>/``. The manifest, which
is replaced in one step, names the keys there.
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
"""Keys that files of an archive can have; decides what is ours if no manifest can be read."""

_WRITTEN = re.compile(
    r"zarr\.json|(nifti|label_counts|weight_sums)/(zarr\.json|c(/\d+)+)"
    r"|scale\d+/(zarr\.json|image/(zarr\.json|c(/\d+)+)|[xyz]/(zarr\.json|c[./]0)|spatial_ref/zarr\.json)"
)
"""Keys that writers of images put; narrower than `LAYOUT`, for what lies beside an archive."""

_ROOT = re.compile(r"generations/[0-9a-f]{16}/")
_MARKS = re.compile(r"generations/[0-9a-f]{16}/(borrowed|withdrawn)")
TOP = "zarr.json"
"""The topmost document."""


def new_root() -> str:
    """A folder that no other writer has, with its final slash."""
    return f"generations/{random_identity()}/"


def is_borrowed_mark(key: str) -> bool:
    """Whether a key is the mark of a writer that uses objects which another writer has put."""
    return bool(_MARKS.fullmatch(key)) and key.endswith("/borrowed")


def is_withdrawn_mark(key: str) -> bool:
    """Whether a key is the mark of a writer that is about to delete the objects it has put."""
    return bool(_MARKS.fullmatch(key)) and key.endswith("/withdrawn")


def root_of(files: Collection[str]) -> str:
    """The root of an archive, found from the keys that its manifest names; empty for the top."""
    if TOP in files:
        return ""
    return next((of_key(key) for key in files if plain(key) == TOP), "")


def of_key(key: str) -> str:
    """The root that a key lies below; empty for the top."""
    match = _ROOT.match(key)
    return match[0] if match else ""


def is_leftover(key: str, root: str) -> bool:
    """Whether a key was left by a writer of an archive with another root than ``root``."""
    if _MARKS.fullmatch(key):
        return True
    return of_key(key) != root and bool(LAYOUT.fullmatch(plain(key)))


def is_stray(key: str, root: str) -> bool:
    """Whether a key that the manifest of an archive in a bucket does not name is of its layout.

    At the top of a store all writers meet. One that was interrupted, or came second, leaves what
    it had put there before it found a key taken.

    Args:
        key: Of an object that the manifest does not name.
        root: Of the archive. Below a root of its own nobody else writes.
    """
    return not root and bool(_WRITTEN.fullmatch(key))


def plain(prefix: str) -> str:
    """A key without its root."""
    return prefix[len(of_key(prefix)) :]


def signpost(document: bytes, root: str) -> bytes:
    """The topmost document for other readers of OME-Zarr, with paths of levels below a root.

    Args:
        document: ``zarr.json`` of the archive.
        root: Where the archive is.
    """
    content: dict[str, Any] = json.loads(document)
    for image in content["attributes"]["ome"]["multiscales"]:
        for level in image["datasets"]:
            level["path"] = root + level["path"]
    return documents.dump(content)
