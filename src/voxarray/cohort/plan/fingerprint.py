"""Fingerprint of an input, from the file system only: it changes if the input changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from voxarray.core import portable
from voxarray.core.errors import MissingFileError
from voxarray.core.sent_records import SentRecord
from voxarray.formats.file_sets import files_of
from voxarray.formats.registry import open_source
from voxarray.storage.file_identity import FileIdentity, require_open_folder
from voxarray.storage.remote.address import is_url

_MANIFEST = "manifest.json"
_ZARR = (_MANIFEST, "zarr.json", ".zattrs", ".zgroup", ".zarray")

_HEADER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class InputFingerprint(SentRecord):
    """Names, sizes and times of the files of an input.

    Attributes:
        size: Bytes of all of them.
        mtime_ns: Latest modification time of them.
        digest: Of the names, sizes and times.
    """

    size: int
    mtime_ns: int
    digest: str

    @classmethod
    def of(cls, location: str) -> InputFingerprint:
        """Fingerprint of a file, a folder or a URL; a header may be read to find further files.

        Raises:
            MissingFileError: If it does not exist.
            VoxarrayError: What a server refuses.
        """
        if is_url(location):
            source = open_source(location)
            return cls(source.bytes_on_disk or 0, 0, _short(source.token()))
        paths = _files(location)
        if _is_foreign_store(location, paths):
            return cls._of_store(location)
        rows = []
        for path in paths:
            file = FileIdentity.of(path)
            rows.append((os.path.basename(path), file.size, file.mtime_ns))
        if not rows:
            require_open_folder(location)
            raise MissingFileError(
                f"{location} holds no files: put the files of the image there, or give another "
                "path",
                path=location,
            )
        return cls(sum(row[1] for row in rows), max(row[2] for row in rows), _digest(rows))

    def is_of_file(self, name: str) -> bool:
        """Whether it is the fingerprint of a single local file of this name."""
        return self.digest == _digest([(name, self.size, self.mtime_ns)])

    @classmethod
    def _of_store(cls, location: str) -> InputFingerprint:
        """Stamp of all files at any depth: a chunk may change, and no file at the top tells of it.

        There may be millions, so that no list of them is made.
        """
        digest = hashlib.sha256()
        size, youngest = 0, 0
        for folder, folders, names in os.walk(location, onerror=_raise):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(folder, name)
                file = FileIdentity.of(path)
                row = (os.path.relpath(path, location), file.size, file.mtime_ns)
                digest.update(repr(row).encode("utf-8", "surrogateescape"))
                size, youngest = size + file.size, max(youngest, file.mtime_ns)
        return cls(size, youngest, digest.hexdigest()[:32])


def header_digest(location: str) -> str:
    """Digest of the first bytes of the first file of an input; empty for a URL.

    The fingerprint of a URL is enough, since it holds the version of the object.
    """
    if is_url(location):
        return ""
    # `open` would make four more system calls.
    fd = os.open(next(iter(_files(location))), os.O_RDONLY | portable.CLOEXEC | portable.BINARY)
    try:
        return hashlib.sha256(os.read(fd, _HEADER_BYTES)).hexdigest()[:32]
    finally:
        os.close(fd)


def _is_foreign_store(location: str, paths: Sequence[str]) -> bool:
    """Whether an input is a Zarr store without a manifest, whose change shows any other change.

    Args:
        location: Of the input.
        paths: Of its files, as `_files` has them: of a store these say what it is, a manifest
            first. So no file has to be asked about that is no store.
    """
    first = os.path.basename(paths[0]) if paths else ""
    return first in _ZARR and first != _MANIFEST and os.path.isdir(location)


def _raise(error: OSError) -> None:
    raise error


def _files(location: str) -> list[str]:
    """The files that an image is read from; sorted."""
    if os.path.isdir(location):
        markers = [os.path.join(location, name) for name in _ZARR]
        markers_there = [path for path in markers if os.path.isfile(path)]
        if markers_there:
            return markers_there
        with os.scandir(location) as entries:
            return sorted(
                entry.path
                for entry in entries
                if entry.is_file() and not entry.name.startswith(".")
            )
    return files_of(location)


def _digest(rows: Sequence[tuple[str, int, int]]) -> str:
    return _short(repr(rows))


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]
