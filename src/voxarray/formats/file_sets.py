"""Images that lie in several files: which files these are, and which of them stands for all."""

from __future__ import annotations

import os

from voxarray.core.errors import VoxarrayError
from voxarray.formats._voxels.header_text import beginning, detached
from voxarray.formats.companions import has_header_beside
from voxarray.formats.metaimage.header import MetaHeader
from voxarray.formats.nrrd.header import NrrdHeader
from voxarray.formats.tiff.ome_xml import files_of_set, part_of_another
from voxarray.storage.file_identity import FileIdentity

_OF_ONE_STEM = {
    *(".hdr", ".img", ".hdr.gz", ".img.gz", ".par", ".rec"),
    *(".head", ".brik", ".brik.gz", ".brik.bz2"),
}
"""Suffixes of images that are kept in several files of one stem."""

_NO_VOXELS = (".json", ".tsv", ".txt", ".bval", ".bvec")
"""Files of the same stem that do not belong to the image."""

_META, _NRRD = (".mhd", ".mha"), (".nhdr", ".nrrd")
_TIFF = (".tif", ".tiff", ".ome.tif")

_HEADER_BYTES = 1 << 16


def files_of(path: str, suffix: str) -> list[str]:
    """The files that an image is read from, the named one among them; sorted.

    What cannot be read is left to whoever opens the image: then it is the named file alone.

    Args:
        path: A local file.
        suffix: How it ends, as `voxarray.formats.suffixes.suffix_of` says.
    """
    if suffix in _OF_ONE_STEM:
        return _of_stem(path, suffix)
    if suffix in _TIFF:
        return sorted(files_of_set(path))
    if suffix in (*_META, *_NRRD):
        data = _detached(path, suffix)
        return sorted([path] if data is None else [path, data])
    return [path]


def belongs_to_another(path: str, suffix: str) -> bool:
    """Whether the image that a file is part of is found by another file beside it."""
    if suffix in _TIFF:
        return part_of_another(path)
    return has_header_beside(path, suffix)


def _of_stem(path: str, suffix: str) -> list[str]:
    folder, name = os.path.split(path)
    stem = name[: len(name) - len(suffix)]
    with os.scandir(folder or ".") as entries:
        return sorted(
            entry.path
            for entry in entries
            if entry.name.startswith(f"{stem}.") and not entry.name.lower().endswith(_NO_VOXELS)
        ) or [path]


def _detached(path: str, suffix: str) -> str | None:
    """The file of voxels that a header names; None if they are in the same file."""
    try:
        if not os.path.isfile(path):
            return None
        identity = FileIdentity.of(path)
        start = beginning(identity, _HEADER_BYTES)
        if suffix in _META:
            name = MetaHeader.parse(start).fields["ElementDataFile"]
            name = "" if name.upper() == "LOCAL" else name
        else:
            name = NrrdHeader.parse(start).fields.get("datafile", "")
        return detached(identity, name, is_pattern=False).path if name else None
    except (VoxarrayError, OSError):
        return None
