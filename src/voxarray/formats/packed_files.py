"""What to do with a file into which several others are packed."""

from __future__ import annotations

import zipfile

_PACKED = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")


def unpacking_hint(path: str) -> str | None:
    """What to do with a packed file that no format reads; None if it is none, by its name."""
    suffix = next((ending for ending in _PACKED if path.lower().endswith(ending)), None)
    if suffix is None:
        return None
    if suffix == ".zip" and _holds_zarr(path):
        return "it holds a Zarr store: rename it, so that it ends in .ozx or .zarr.zip"
    return (
        "unpack it, and give the path of one scan in it: a file, or a folder with the DICOM files "
        "of one series. voxarray convert also takes a folder of scans. Of packed files, only Zarr "
        "stores are read, as .ozx or .zarr.zip"
    )


def _holds_zarr(path: str) -> bool:
    try:
        with zipfile.ZipFile(path) as packed:
            names = packed.namelist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):
        return False
    return not {"zarr.json", ".zgroup", ".zarray"}.isdisjoint(names)
