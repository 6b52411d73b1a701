"""What the suffix of a path says."""

from __future__ import annotations

import os

_DOUBLE_SUFFIXES = (
    ".nii.gz",
    ".img.gz",
    ".hdr.gz",
    ".ome.zarr",
    ".nii.zarr",
    ".zarr.zip",
    ".ome.tif",
    ".mgh.gz",
    ".gipl.gz",
    ".brik.gz",
    ".brik.bz2",
)


_ZIPPED = (".ozx", ".zarr.zip")


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
    while folder and os.path.dirname(folder) != folder:
        if folder.lower().endswith(_ZIPPED) and os.path.isfile(folder):
            return True
        folder = os.path.dirname(folder)
    return False
