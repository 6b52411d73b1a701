"""One archive as one file: an uncompressed zip, for file systems that limit the number of files.

The form is OME-NGFF RFC-9 (``.ozx``): members stored, not deflated; the root ``zarr.json`` first,
then all other metadata; a comment that says so. The comment also holds the digest of all bytes
before it, since the manifest does not cover the headers of the zip.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

from voxarray.archive import digests
from voxarray.archive import manifest as manifests
from voxarray.archive.digests import DIGITS, digest_of
from voxarray.archive.durability import ShardSync
from voxarray.archive.manifest import FileEntry
from voxarray.archive.metadata import OME_VERSION
from voxarray.archive.staging import Staging
from voxarray.archive.zip_bytes import MOST_BYTES, MOST_MEMBERS, zip_bytes
from voxarray.core.disk import sync, write_new
from voxarray.core.error_messages import MAKE_AGAIN
from voxarray.core.errors import ChecksumError
from voxarray.core.portable import BINARY, CLOEXEC
from voxarray.storage.archive_suffixes import ZIP_SUFFIX
from voxarray.storage.store import Blob, FileBlob

_OME = {"version": OME_VERSION, "zipFile": {"centralDirectory": {"jsonFirst": True}}}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that zip knows: the same source makes the same bytes
_PIECE = 1 << 20


def pack(area: Staging, source: Mapping[str, Any]) -> str:
    """Seal an archive and pack it into one synced file beside its folder.

    Files that are held in memory are written into the zip directly.

    Args:
        area: The archive.
        source: Facts about the source, for the manifest.

    Returns:
        Path of the zip.

    Raises:
        ArchiveError: If the file reads back otherwise than it was written; ``VERIFY_FAILED``.
        OSError: What the disk refuses.
    """
    path = f"{area.root}{ZIP_SUFFIX}"
    try:
        if area.holds:
            write_at_once(path, packed(area.members(source)))
        else:
            area.seal(source)
            _write_from_files(path, area)
    except BaseException:
        if os.path.exists(path):
            os.unlink(path)
        raise
    return path


def packed(members: Mapping[str, bytes]) -> bytes:
    """The zip of files in memory, by their key."""
    ordered = [(key, members[key]) for key in _in_order(members)]
    length = len(_comment("0" * DIGITS[2]))
    is_small = sum(map(len, members.values())) < MOST_BYTES // 2  # leaves room for the headers
    pack_members = zip_bytes if is_small and len(ordered) <= MOST_MEMBERS else _by_library
    body = pack_members(ordered, length)
    return b"".join([body, _comment(digest_of(body))])


def write_at_once(path: str, data: bytes) -> None:
    """Write a zip to a new file, sync it, and read it back.

    Raises:
        ArchiveError: If it reads back otherwise; ``VERIFY_FAILED``.
        OSError: What the disk refuses.
    """
    write_new(path, data)
    fd = os.open(path, os.O_RDONLY | CLOEXEC | BINARY)
    ShardSync(fd, path).finish(FileEntry.of(data))


def _by_library(members: Iterable[tuple[str, bytes]], comment: int) -> bytes:
    """As `zip_bytes`, for any number of members."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = bytes(comment)  # a placeholder, since the end record holds its length
        for key, data in members:
            archive.writestr(_member(key, len(data)), data)
    return packed.getvalue()[:-comment]


def _write_from_files(path: str, area: Staging) -> None:
    with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED) as archive:
        archive.comment = _comment("0" * DIGITS[2])  # a placeholder of the same length
        for key in _in_order([*area.files, manifests.KEY]):
            file = f"{area.root}/{key}"
            member = _member(key, os.path.getsize(file))
            with open(file, "rb") as data, archive.open(member, "w") as out:
                shutil.copyfileobj(data, out, _PIECE)
    _seal(path)
    sync(path)


def check(path: str, blob: Blob, version: int = manifests.VERSION) -> None:
    """Compare all bytes of a zip with the digest in its comment.

    Args:
        path: The zip, or its URL.
        blob: Its bytes.
        version: Of the format.

    Raises:
        ChecksumError: If they are not those that `pack` wrote.
    """
    expected = _comment_of(blob, version)
    if blob.read(max(0, blob.size - len(expected)), len(expected)) == expected:
        return
    raise ChecksumError(
        f"{path} has changed since it was written, though the files in it may be intact: restore "
        f"it; or unzip it and use the folder; or {MAKE_AGAIN}",
        path=path,
    )


def _seal(path: str) -> None:
    with FileBlob(os.open(path, os.O_RDONLY | CLOEXEC | BINARY), 0, os.path.getsize(path)) as blob:
        comment = _comment_of(blob, manifests.VERSION)
    with open(path, "r+b") as file:
        file.seek(-len(comment), os.SEEK_END)
        file.write(comment)


def _comment(digest: str, version: int = manifests.VERSION) -> bytes:
    """The comment, of the same length for every digest."""
    name = "crc32c" if version == 1 else digests.NAME
    return json.dumps({"ome": _OME, "voxarray": {name: digest}}).encode()


def _comment_of(blob: Blob, version: int) -> bytes:
    """The comment that belongs to the bytes before it."""
    length = len(_comment("0" * DIGITS[version], version))
    before = blob.part(0, max(0, blob.size - length))
    return _comment(digests.digest_of_blob(before, version)[1], version)


def _member(key: str, size: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(key, _EPOCH)
    # zipfile chooses 64-bit headers by the size; without it, members beyond 2 GiB are an error.
    member.file_size = size
    return member


def _in_order(keys: Iterable[str]) -> list[str]:
    """The root's ``zarr.json``, other metadata, data, and the manifest last."""
    return sorted(
        keys,
        key=lambda key: (
            key == manifests.KEY,
            key != "zarr.json",
            not key.endswith("zarr.json"),
            key,
        ),
    )
