"""One archive as one file: an uncompressed zip, for file systems that count files.

The form is OME-NGFF RFC-9 (``.ozx``): members stored, not deflated; the root ``zarr.json`` first,
then all other metadata; a comment that says so.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile

from voxarray.archive import manifest as manifests
from voxarray.archive.metadata import OME_VERSION
from voxarray.archive.staging import Staging, sync

SUFFIX = ".ozx"

_COMMENT = {"ome": {"version": OME_VERSION, "zipFile": {"centralDirectory": {"jsonFirst": True}}}}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that zip knows: the same source makes the same bytes
_PIECE = 1 << 20


def is_named(path: str) -> bool:
    """Whether a path is to be one file; ``.OZX`` too, as readers see it."""
    return path.lower().endswith(SUFFIX)


def pack(area: Staging) -> str:
    """Pack a sealed archive into one synced file beside its folder; returns the file's path."""
    path = f"{area.root}{SUFFIX}"
    keys = sorted(area.files, key=_metadata_first)
    try:
        with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED) as archive:
            archive.comment = json.dumps(_COMMENT).encode()
            for key in [*keys, manifests.KEY]:
                _add(archive, f"{area.root}/{key}", key)
        sync(path)
    except BaseException:
        if os.path.exists(path):
            os.unlink(path)
        raise
    return path


def _add(archive: zipfile.ZipFile, file: str, key: str) -> None:
    member = zipfile.ZipInfo(key, _EPOCH)
    member.file_size = os.path.getsize(file)
    with open(file, "rb") as data, archive.open(member, "w") as out:
        shutil.copyfileobj(data, out, _PIECE)


def _metadata_first(key: str) -> tuple[bool, bool, str]:
    return key != "zarr.json", not key.endswith("zarr.json"), key
