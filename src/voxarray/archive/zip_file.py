"""One archive as one file: an uncompressed zip, for file systems that count files.

The form is OME-NGFF RFC-9 (``.ozx``): members stored, not deflated; the root ``zarr.json`` first,
then all other metadata; a comment that says so, and carries the digest of all bytes before it, for
the zip's own headers are in no manifest.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile

from voxarray.archive import digests
from voxarray.archive import manifest as manifests
from voxarray.archive.digests import DIGITS, hasher
from voxarray.archive.metadata import OME_VERSION
from voxarray.archive.staging import Staging
from voxarray.core.disk import sync
from voxarray.core.errors import ChecksumError

SUFFIX = ".ozx"

_OME = {"version": OME_VERSION, "zipFile": {"centralDirectory": {"jsonFirst": True}}}
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
            archive.comment = _comment(
                "0" * DIGITS[2]
            )  # its length is written before it, so it comes now
            for key in [*keys, manifests.KEY]:
                _add(archive, f"{area.root}/{key}", key)
        _seal(path)
        sync(path)
    except BaseException:
        if os.path.exists(path):
            os.unlink(path)
        raise
    return path


def check(path: str, version: int = manifests.VERSION) -> None:
    """Compare all bytes of a zip with the digest in its comment.

    Args:
        path: The zip.
        version: Of the format.

    Raises:
        ChecksumError: If they are not those that `pack` wrote.
    """
    expected = _comment_of(path, version)
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - len(expected)))
        if file.read() == expected:
            return
    raise ChecksumError(
        f"{path} is not the zip that was written, though its files may be whole: restore it, "
        "convert the source again, or unzip it and use the folder",
        path=path,
    )


def _seal(path: str) -> None:
    comment = _comment_of(path, manifests.VERSION)
    with open(path, "r+b") as file:
        file.seek(-len(comment), os.SEEK_END)
        file.write(comment)


def _comment(digest: str, version: int = manifests.VERSION) -> bytes:
    """The comment, of the same length for every digest."""
    name = "crc32c" if version == 1 else digests.NAME
    return json.dumps({"ome": _OME, "voxarray": {name: digest}}).encode()


def _comment_of(path: str, version: int) -> bytes:
    """The comment that belongs to the bytes before it."""
    found, length = hasher(version), len(_comment("0" * DIGITS[version], version))
    left = max(0, os.path.getsize(path) - length)
    with open(path, "rb") as file:
        while piece := file.read(min(_PIECE, left)):
            left -= len(piece)
            found.update(piece)
    return _comment(found.hexdigest(), version)


def _add(archive: zipfile.ZipFile, file: str, key: str) -> None:
    member = zipfile.ZipInfo(key, _EPOCH)
    member.file_size = os.path.getsize(file)
    with open(file, "rb") as data, archive.open(member, "w") as out:
        shutil.copyfileobj(data, out, _PIECE)


def _metadata_first(key: str) -> tuple[bool, bool, str]:
    return key != "zarr.json", not key.endswith("zarr.json"), key
