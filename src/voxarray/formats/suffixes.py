"""What the suffix of a path says."""

from __future__ import annotations

import os

from voxarray.storage.archive_suffixes import ZIP_SUFFIXES

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
"""What follows the suffix of a file that is compressed as a whole."""


def compressed(*suffixes: str) -> tuple[str, ...]:
    """Suffixes of files that were compressed: ``.nii.gz``, ``.nii.bz2``... of ``.nii``."""
    return tuple(suffix + end for suffix in suffixes for end in COMPRESSED)


HEADER, VOXELS = ".hdr", ".img"
"""Of the two files of a NIfTI pair, or of Analyze's."""

PAIR_SUFFIXES = (VOXELS, HEADER, *compressed(VOXELS, HEADER))
"""Of either, also compressed."""


def pair_suffixes(suffix: str, end: str) -> tuple[str, ...]:
    """How the other file of a pair may end, the likeliest first.

    Args:
        suffix: Of the other file, such as ``".hdr"``.
        end: What follows the suffix of this file, such as ``".gz"``, or nothing.
    """
    return tuple(dict.fromkeys((suffix + end, suffix, *compressed(suffix))))


_DOUBLE_SUFFIXES = (
    *compressed(".nii", VOXELS, HEADER, ".mgh", ".gipl", ".brik"),
    *(".ome.zarr", ".nii.zarr", ".zarr.zip", ".ome.tif"),
)


def suffix_of(path: str | os.PathLike[str]) -> str:
    """Suffix in lower case, with its dot; both of such pairs as ``.nii.gz`` and ``.ome.zarr``."""
    name = os.path.basename(os.path.normpath(path)).lower()
    for double in _DOUBLE_SUFFIXES:
        if name.endswith(double):
            return double
    return os.path.splitext(name)[1]


def is_inside_zip(path: str | os.PathLike[str]) -> bool:
    """Whether a path leads on into a zipped archive, as ``x.ozx/labels/brain`` does."""
    folder = os.path.dirname(os.path.normpath(path))
    if not any(suffix in folder.lower() for suffix in ZIP_SUFFIXES):
        return False  # nearly every path, and some are deep
    while folder and os.path.dirname(folder) != folder:
        if folder.lower().endswith(ZIP_SUFFIXES) and os.path.isfile(folder):
            return True
        folder = os.path.dirname(folder)
    return False


def names_label_map(path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of a label map in an archive, whether it is there or not."""
    labels = os.path.dirname(os.path.normpath(path))
    archive = os.path.dirname(labels)
    return os.path.basename(labels) == "labels" and os.path.isfile(f"{archive}/manifest.json")
