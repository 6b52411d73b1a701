"""The manifest: what makes an archive whole.

``manifest.json`` is written last. It names every file with its size and crc32c, says what the
archive was made from, and carries the crc32c of itself. An archive of ours without it was not
finished, and is not opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np

from voxarray.core.errors import ArchiveError, ChecksumError, MissingDataError
from voxarray.storage.store import Blob, Store

KEY = "manifest.json"
FORMAT = "voxarray-manifest"
VERSION = 1

_PIECE = 1 << 20


_BEGINNING = f'{{"format":"{FORMAT}"'.encode()


def is_published(store: Store) -> bool:
    """Whether a store has a manifest of ours: other programs have a ``manifest.json``, too."""
    if KEY not in store:
        return False
    with store.open(KEY) as blob:
        return blob.read(0, len(_BEGINNING)) == _BEGINNING


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the archive.

    Attributes:
        size: Bytes.
        crc32c: Of all its bytes.
    """

    size: int
    crc32c: int


def file_entry(blob: Blob) -> FileEntry:
    """Entry of what is open, read in pieces; of fewer bytes where it ends."""
    crc, done = 0, 0
    # One buffer for all pieces: fresh ones cost more in page faults than the reading itself.
    buffer = np.empty(min(_PIECE, blob.size), np.uint8)
    while count := blob.read_into(done, buffer[: blob.size - done]):
        crc = google_crc32c.extend(crc, buffer[:count])
        done += count
    return FileEntry(done, crc)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Every file of an archive but the manifest itself, and where the voxels came from.

    Attributes:
        files: Entry of each key.
        source: Facts about the source that identify nobody: size, sha256.
    """

    files: Mapping[str, FileEntry]
    source: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """The file, of which the crc32c is the last key."""
        content = {
            "format": FORMAT,
            "version": VERSION,
            "source": dict(self.source),
            "files": {
                key: [entry.size, f"{entry.crc32c:08x}"]
                for key, entry in sorted(self.files.items())
            },
        }
        return _sealed(content)

    @classmethod
    def read(cls, store: Store) -> Manifest:
        """The manifest of a store.

        Raises:
            MissingDataError: If there is none: the archive was never finished. Code
                ``NO_MANIFEST``.
            ChecksumError: If it is not the one that was written.
        """
        if KEY not in store:
            raise MissingDataError(
                f"{store.path} has no {KEY}: its conversion did not finish or it was not copied "
                "whole; convert the source again",
                code="NO_MANIFEST",
                path=store.path,
            )
        raw = store.read(KEY)
        try:
            content = json.loads(raw)
            intact = isinstance(content, dict) and _sealed(content) == raw
        except (ValueError, TypeError):
            intact = False
        if not intact:
            raise ChecksumError(
                f"the manifest of {store.path} is not the one that was written", path=store.path
            )
        if content["version"] != VERSION:
            raise ArchiveError(
                f"{store.path} has a manifest of version {content['version']}, this voxarray reads "
                f"version {VERSION}: install the voxarray that wrote it, or a newer one",
                code="UNKNOWN_VERSION",
                path=store.path,
            )
        files = {
            key: FileEntry(int(size), int(crc, 16)) for key, (size, crc) in content["files"].items()
        }
        return cls(files, content["source"])

    def checked(self, store: Store, key: str) -> bytes:
        """Bytes of a small file, which must be those that were written."""
        data = store.read(key)
        self.require(key, len(data), google_crc32c.value(data), store.path)
        return data

    def check(self, store: Store, key: str) -> None:
        """Read a file of any size and compare it with what was written."""
        with store.open(key) as blob:
            seen = file_entry(blob)
        self.require(key, seen.size, seen.crc32c, store.path)

    def size(self, key: str, path: str) -> int:
        """Bytes that a file has by the manifest."""
        if key not in self.files:
            raise MissingDataError(f"the manifest of {path} does not name {key}", path=path)
        return self.files[key].size

    def require(self, key: str, size: int, crc: int, path: str) -> None:
        """Raise `ChecksumError` unless a file has the size and crc32c that were written."""
        if self.size(key, path) != size or self.files[key].crc32c != crc:
            entry = self.files[key]
            raise ChecksumError(
                f"{key} of {path} has {size} bytes with crc32c {crc:08x} where {entry.size} bytes "
                f"with {entry.crc32c:08x} were written: restore it or convert the source again",
                path=path,
            )


def _sealed(content: Mapping[str, Any]) -> bytes:
    """Canonical JSON of the content, with the crc32c of that JSON as its last key."""
    body = {key: value for key, value in content.items() if key != "crc32c"}
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=True)
    return json.dumps(
        {**body, "crc32c": f"{google_crc32c.value(text.encode()):08x}"},
        separators=(",", ":"),
        ensure_ascii=True,
    ).encode()
