"""Images that lie in several files: which files these are, and which of them stands for all."""

from __future__ import annotations

import os

from voxarray.core.errors import MissingFileError, VoxarrayError
from voxarray.formats.companions import companion_file
from voxarray.formats.registry import format_of, load, longest_suffix
from voxarray.storage.file_identity import FileIdentity

_NO_VOXELS = (".json", ".tsv", ".txt", ".bval", ".bvec")
"""Files of the same stem that do not belong to the image."""

_HEADER_BYTES = 1 << 16


def files_of(path: str) -> list[str]:
    """The files that an image is read from, the named one among them; sorted.

    What cannot be read is left to whoever opens the image: then it is the named file alone.

    Args:
        path: A local file.
    """
    file_format = format_of(path)
    if file_format is None:
        return [path]
    if file_format.identity == "stem":
        return _of_stem(path, longest_suffix(path, file_format.suffixes))
    if file_format.identity == "set":
        from voxarray.formats.tiff.ome_xml import files_of_set

        return sorted(files_of_set(path))
    if file_format.data_file is not None:
        data = _detached(path, file_format.data_file)
        return sorted([path] if data is None else [path, data])
    return [path]


def belongs_to_another(path: str) -> bool:
    """Whether the image that a file is part of is found by another file beside it."""
    file_format = format_of(path)
    if file_format is None:
        return False
    if file_format.identity == "set":
        from voxarray.formats.tiff.ome_xml import part_of_another

        return part_of_another(path)
    return header_beside(path) is not None


def header_beside(path: str) -> str | None:
    """The header of the pair that a file is the other part of; None for all other files."""
    file_format = format_of(path)
    if file_format is None or not file_format.companions:
        return None
    suffix = longest_suffix(path, file_format.suffixes)
    try:
        return companion_file(path, suffix, dict(file_format.companions).get(suffix, ())).path
    except MissingFileError:
        return None


def _of_stem(path: str, suffix: str) -> list[str]:
    folder, name = os.path.split(path)
    stem = name[: len(name) - len(suffix)]
    with os.scandir(folder or ".") as entries:
        return sorted(
            entry.path
            for entry in entries
            if entry.name.startswith(f"{stem}.") and not entry.name.lower().endswith(_NO_VOXELS)
        ) or [path]


def _detached(path: str, name_in: str) -> str | None:
    """The file of voxels that a header names; None if they are in the same file."""
    # Whoever searches a folder without such files need not load what reads their headers.
    from voxarray.formats._voxels.header_text import beginning, detached

    try:
        if not os.path.isfile(path):
            return None
        identity = FileIdentity.of(path)
        start = beginning(identity, _HEADER_BYTES)
        name = load(name_in)(start)
        return detached(identity, name, is_pattern=False).path if name else None
    except (VoxarrayError, OSError):
        return None
