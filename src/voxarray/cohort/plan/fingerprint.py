"""What tells whether an input is still the one that was planned, from the file system alone."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from voxarray.core.errors import MissingFileError
from voxarray.formats.registry import open_source
from voxarray.formats.suffixes import suffix_of
from voxarray.storage.remote.address import is_url

_HEADED = {
    *(".hdr", ".img", ".hdr.gz", ".img.gz", ".mhd", ".nhdr", ".par", ".rec"),
    *(".head", ".brik", ".brik.gz", ".brik.bz2"),
}
"""Suffixes of images that are kept in several files of one stem."""

_BESIDE = (".json", ".tsv", ".txt", ".bval", ".bvec")
"""Files of the same stem that hold no voxels."""

_ZARR = ("manifest.json", "zarr.json", ".zattrs", ".zgroup", ".zarray")

_HEADER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Stamp:
    """Names, sizes and times of the files of an input.

    Attributes:
        size: Bytes of all of them.
        mtime_ns: Of the youngest.
        digest: Differs when a name, a size or a time does.
    """

    size: int
    mtime_ns: int
    digest: str

    @classmethod
    def of(cls, location: str) -> Stamp:
        """Stamp of a file, a folder or a URL; nothing but a URL is opened.

        Raises:
            MissingFileError: If it is not there.
            VoxarrayError: What a server says.
        """
        if is_url(location):
            source = open_source(location)
            return cls(source.bytes_on_disk or 0, 0, _short(source.token()))
        rows = []
        for path in _files(location):
            try:
                status = os.stat(path)
            except FileNotFoundError:
                raise MissingFileError(f"there is no file {path}", path=path) from None
            rows.append((os.path.basename(path), status.st_size, status.st_mtime_ns))
        if not rows:
            raise MissingFileError(f"{location} holds no files", path=location)
        return cls(sum(row[1] for row in rows), max(row[2] for row in rows), _short(repr(rows)))


def header_digest(location: str) -> str:
    """Digest of how the first file of an input begins; of a URL its stamp says enough."""
    if is_url(location):
        return ""
    with open(next(iter(_files(location))), "rb") as file:
        return hashlib.sha256(file.read(_HEADER_BYTES)).hexdigest()[:32]


def _files(location: str) -> list[str]:
    """The files that an image is read from, as far as their names say; sorted."""
    if os.path.isdir(location):
        markers = [os.path.join(location, name) for name in _ZARR]
        found = [path for path in markers if os.path.isfile(path)]
        if found:
            return found
        with os.scandir(location) as entries:
            return sorted(e.path for e in entries if e.is_file() and not e.name.startswith("."))
    suffix = suffix_of(location)
    if suffix not in _HEADED:
        return [location]
    folder, name = os.path.split(location)
    stem = name[: len(name) - len(suffix)]
    with os.scandir(folder or ".") as entries:
        return sorted(
            entry.path
            for entry in entries
            if entry.name.startswith(f"{stem}.") and not entry.name.lower().endswith(_BESIDE)
        ) or [location]


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]
