"""Saving as a NIfTI pair: a header (``.hdr``) and voxels (``.img``), both also compressed."""

from __future__ import annotations

import numpy as np

from voxarray.formats._voxels.write_voxels import sink_of, write_volumes
from voxarray.formats.nifti.write import representation
from voxarray.formats.record import SaveRequest
from voxarray.formats.suffixes import HEADER, VOXELS, suffix_of
from voxarray.nifti_header.build import stored_dtype
from voxarray.nifti_header.fields import PAIR_MAGIC
from voxarray.nifti_header.header import NiftiHeader
from voxarray.source.base import Source
from voxarray.storage.atomic_write import atomic_writes


def write_nifti_pair(source: Source, path: str, *, overwrite: bool = True) -> None:
    """Save an image in two files, of which the header appears last.

    What is written is as in `write_nifti`.

    Args:
        source: What to save; read once, in disk order.
        path: Either file: ``.img``, ``.hdr``, ``.img.gz`` or ``.hdr.gz``; the other gets the same
            name, in the same case of letters.
        overwrite: Whether what is there is replaced.

    Raises:
        UnsupportedError: NIfTI cannot hold the data type (``UNSUPPORTED_DTYPE``).
        ArchiveError: The disk is full or fails.
    """
    suffix = suffix_of(path)
    stem, ending = path[: -len(suffix)], path[-len(suffix) :]
    is_compressed = suffix.endswith(".gz")
    names = [_like(ending, part + (".gz" if is_compressed else "")) for part in (VOXELS, HEADER)]
    voxels, header = representation(source)
    with atomic_writes(*(stem + name for name in names), overwrite=overwrite) as (image, text):
        with open(image, "xb") as file, sink_of(file, compressed=is_compressed) as sink:
            write_volumes(voxels, sink, stored_dtype(voxels.dtype))
        with open(text, "xb") as file, sink_of(file, compressed=is_compressed) as sink:
            sink.write(_as_pair(header))


def _as_pair(header: bytes) -> bytes:
    """A header of a single file as that of a pair, whose voxels start at byte 0."""
    parsed = NiftiHeader.parse(header)
    record = parsed.record.copy()
    record["magic"] = PAIR_MAGIC[parsed.version]
    record["vox_offset"] = 0
    return np.asarray(record).tobytes()


def _like(ending: str, suffix: str) -> str:
    return suffix.upper() if ending.isupper() else suffix


def save(request: SaveRequest) -> None:
    """Save a pair of NIfTI files as it is asked for."""
    write_nifti_pair(request.source, request.path, overwrite=request.overwrite)
