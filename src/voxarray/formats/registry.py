"""Which module opens which file.

The formats that come with voxarray stand in a table and are imported when they are needed. Other
packages add theirs with entry points of the group ``voxarray.sources``: the name is the suffix
without its first dot, the value a callable that takes the path and returns a `Source`::

    [project.entry-points."voxarray.sources"]
    "mnc" = "my_package.minc:open_minc"
    "mnc.gz" = "my_package.minc:open_minc"
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from voxarray.core.errors import MissingFileError, UnsupportedError
from voxarray.formats.dicom.detect import SUFFIXES as DICOM_SUFFIXES
from voxarray.formats.dicom.detect import is_dicom, is_dicom_folder
from voxarray.formats.suffixes import is_inside_zip, suffix_of
from voxarray.source.base import Source
from voxarray.storage.remote.address import Address, is_url
from voxarray.storage.remote.zarr_objects import is_zarr_store

GROUP = "voxarray.sources"

_AFNI = "voxarray.formats.afni.read:open_afni"
_DICOM = "voxarray.formats.dicom.read:open_dicom"
_META = "voxarray.formats.metaimage.read:open_meta_image"
_GIPL = "voxarray.formats.gipl.read:open_gipl"
_ITK_HDF5 = "voxarray.formats.hdf5.read:open_itk_hdf5"
_MGH = "voxarray.formats.mgh.read:open_mgh"
_MINC = "voxarray.formats.minc.read:open_minc"
_NIFTI = "voxarray.formats.nifti.read:open_nifti"
_NRRD = "voxarray.formats.nrrd.read:open_nrrd"
_NPY = "voxarray.formats.npy.read:open_npy"
_PAIR = "voxarray.formats.nifti.read_pair:open_pair"
_PARREC = "voxarray.formats.parrec.read:open_parrec"
_PICTURE = "voxarray.formats.pictures.read:open_picture"
_TIFF = "voxarray.formats.tiff.read:open_tiff"
_VTK = "voxarray.formats.vtk.read:open_vtk"
_ZARR = "voxarray.formats.zarr.read:open_zarr"

_BUILT_IN = {
    ".nii": _NIFTI,
    ".nii.gz": _NIFTI,
    ".nrrd": _NRRD,
    ".nhdr": _NRRD,
    ".mha": _META,
    ".mhd": _META,
    ".hdr": _PAIR,
    ".img": _PAIR,
    ".hdr.gz": _PAIR,
    ".img.gz": _PAIR,
    ".mgh": _MGH,
    ".mgz": _MGH,
    ".mgh.gz": _MGH,
    ".gipl": _GIPL,
    ".gipl.gz": _GIPL,
    ".vtk": _VTK,
    ".h5": _ITK_HDF5,
    ".hdf5": _ITK_HDF5,
    ".png": _PICTURE,
    ".jpg": _PICTURE,
    ".jpeg": _PICTURE,
    ".bmp": _PICTURE,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".ome.tif": _TIFF,
    ".npy": _NPY,
    ".mnc": _MINC,
    ".par": _PARREC,
    ".rec": _PARREC,
    ".head": _AFNI,
    ".brik": _AFNI,
    ".brik.gz": _AFNI,
    ".brik.bz2": _AFNI,
    ".ozx": _ZARR,
    ".zarr.zip": _ZARR,
}

_BUILT_IN |= dict.fromkeys(DICOM_SUFFIXES, _DICOM)


_ZARR_MARKERS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")  # Zarr 3, and 2

Opener = Callable[[str], Source]


def open_source(path: str | os.PathLike[str]) -> Source:
    """The image in a file or archive; nothing but its header or metadata is read.

    Args:
        path: Local path, URL, or a ``zarr.abc.store.Store``.

    Raises:
        MissingFileError: There is nothing at ``path``.
        UnsupportedError: Nothing here reads such files (``UNKNOWN_SUFFIX``,
            ``UNKNOWN_DIRECTORY``).
        FormatError: The file is not what its name says, or damaged.
        AccessDeniedError, TransportError: A server refuses, or does not answer.
    """
    if is_zarr_store(path):
        opener: Any = _load("voxarray.formats.remote.opening:open_store_object")
        store: Source = opener(path)
        return store
    text = os.fspath(path)
    if text.startswith("file://"):
        text = unquote(urlsplit(text).path)
    if is_url(text):
        return _open_url(text)
    return _opener(text)(text)


def known_suffixes() -> list[str]:
    """Suffixes of files and archives that can be opened, sorted."""
    return sorted({*_BUILT_IN, ".zarr", *_entry_points()})


def _open_url(url: str) -> Source:
    opener: Any = _load("voxarray.formats.remote.opening:open_url")
    suffix = suffix_of(Address.parse(url).path or "/")
    opened: Source = opener(url, suffix, known_suffixes(), open_source)
    return opened


def _opener(path: str) -> Opener:
    suffix = suffix_of(path)
    if os.path.isdir(path):
        # A store that lost its zarr.json is still an archive, and its reader says what is wrong.
        if suffix.endswith(".zarr") or _is_zarr(path):
            return _load(_ZARR)
        if is_dicom_folder(path):
            return _load(_DICOM)
        raise UnsupportedError(
            f"the directory {path} holds no {_ZARR_MARKERS[0]}, so it is not a Zarr archive, and "
            "no DICOM files: name a file, an archive, or the folder of one series",
            code="UNKNOWN_DIRECTORY",
            path=path,
        )
    if is_inside_zip(path):
        return _load(_ZARR)
    if not os.path.exists(path):
        raise MissingFileError(f"there is no file {path}", path=path)
    if suffix in _BUILT_IN:
        return _load(_BUILT_IN[suffix])
    if is_dicom(path):  # whose names may be anything
        return _load(_DICOM)
    # Looked up last: reading the metadata of all installed packages takes milliseconds.
    added = _entry_points()
    fitting = [known for known in added if path.lower().endswith(known)]
    if not fitting:
        raise UnsupportedError(
            f"nothing reads files that end in {suffix!r} ({path}): known are "
            f"{', '.join(known_suffixes())}",
            code="UNKNOWN_SUFFIX",
            path=path,
        )
    opener: Opener = added[max(fitting, key=len)].load()
    return opener


def _is_zarr(folder: str) -> bool:
    return any(os.path.exists(os.path.join(folder, name)) for name in _ZARR_MARKERS)


def _load(place: str) -> Opener:
    module, name = place.split(":")
    opener: Opener = getattr(importlib.import_module(module), name)
    return opener


def _entry_points() -> dict[str, Any]:
    import importlib.metadata  # 40 ms, and seldom needed

    found = importlib.metadata.entry_points(group=GROUP)
    return {f".{entry.name.lower()}": entry for entry in found}
