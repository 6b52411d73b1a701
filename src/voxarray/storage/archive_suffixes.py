"""How the names of archives end."""

from __future__ import annotations

FOLDER_SUFFIX = ".ome.zarr"
"""Of an archive in a cohort that is a folder."""

ZIP_SUFFIX = ".ozx"
"""Of an archive in one file, as it is written (OME-NGFF RFC-9)."""

ZIP_SUFFIXES = (ZIP_SUFFIX, ".zarr.zip")
"""Of hierarchies in one file, as they are read."""

HIERARCHY_SUFFIX = ".zarr"
"""Of hierarchies that are folders."""

ENDS_OF_STORES = (HIERARCHY_SUFFIX, *ZIP_SUFFIXES)
"""By these a URL tells where a hierarchy begins; what follows lies in it."""


def is_zip_name(path: str) -> bool:
    """Whether a path names an archive in one file; ``.OZX`` does, too, as readers see it."""
    return path.lower().endswith(ZIP_SUFFIX)
