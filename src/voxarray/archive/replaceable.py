"""What overwriting an archive may delete: an archive of ours, and nothing else."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

from voxarray.archive import manifest as manifests
from voxarray.archive.metadata import KEY
from voxarray.core.errors import ArchiveExistsError

_BEGINNING = f'{{"format":"{manifests.FORMAT}"'.encode()
_LAYOUT = re.compile(
    r"(labels/[^/]+/)?(zarr\.json|(nifti|scale\d+|label_counts|weight_sums)/.+)|labels/zarr\.json"
)
"""Keys of an archive whose manifest cannot be read."""

_OWN = re.compile(r"manifest\.json|generations/.+|labels/zarr\.json")
"""Keys that no manifest names."""

_LITTER = re.compile(r"(.*/)?(\.DS_Store|\._[^/]*|Thumbs\.db|desktop\.ini|\.nfs[0-9a-f]+)")
"""What systems leave in any folder."""

_TOLD = 3


def require_replaceable(path: str) -> None:
    """Refuse to overwrite a folder, if that would delete what voxarray has not written.

    Raises:
        ArchiveExistsError: It is no archive of ours (``NOT_AN_ARCHIVE``), or files of others are
            in it (``FOREIGN_FILES``).
    """
    if not os.path.isdir(path) or not os.listdir(path):
        return
    named = _named(path)
    if named is None and not _is_ours(path):
        raise ArchiveExistsError(
            f"{path} is no archive that voxarray wrote, and overwriting would delete all that is "
            "in it: choose another name, or delete it yourself",
            code="NOT_AN_ARCHIVE",
            path=path,
        )
    foreign = [key for key in _keys(path) if not _is_known(key, named)]
    if foreign:
        more = f" and {len(foreign) - _TOLD} more" if len(foreign) > _TOLD else ""
        raise ArchiveExistsError(
            f"{path} holds what voxarray did not write there, and overwriting would delete it: "
            f"{', '.join(foreign[:_TOLD])}{more}. Move it, or choose another name",
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
    """Whether a damaged archive, or one that is not whole, is of ours all the same."""
    try:
        with open(os.path.join(path, manifests.KEY), "rb") as file:
            if file.read(len(_BEGINNING)) == _BEGINNING:
                return True
    except OSError:
        pass
    root = _json(os.path.join(path, "zarr.json"))
    attributes = root.get("attributes") if isinstance(root, dict) else None
    own = attributes.get(KEY) if isinstance(attributes, dict) else None
    return isinstance(own, dict) and "affine" in own


def _is_known(key: str, named: set[str] | None) -> bool:
    if _OWN.fullmatch(key) or _LITTER.fullmatch(key):
        return True
    if named is not None and key in named:
        return True
    # A label map whose addition was interrupted is named by nobody yet.
    return (named is None or key.startswith("labels/")) and bool(_LAYOUT.fullmatch(key))


def _keys(path: str) -> Iterator[str]:
    """Files below a folder; links to folders count as files, for what they lead to stays."""
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
