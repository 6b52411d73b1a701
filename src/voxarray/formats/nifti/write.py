"""Saving as NIfTI: ``.nii`` and ``.nii.gz``, from any source, in bounded memory."""

from __future__ import annotations

import os

from voxarray.core.errors import UnsupportedError
from voxarray.formats._voxels.write_voxels import sink_of, write_volumes
from voxarray.formats.record import SaveRequest
from voxarray.formats.suffixes import suffix_of
from voxarray.nifti_header.build import header_for, stored_dtype
from voxarray.nifti_header.fields import EXTENSION_FLAG_BYTES
from voxarray.nifti_header.header import NiftiHeader
from voxarray.source.base import Source
from voxarray.storage.atomic_write import atomic_write

SUFFIXES = (".nii", ".nii.gz")


def write_nifti(source: Source, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Save an image; the file appears, or replaces another, when it is complete.

    Stored voxels are copied with their slope and intercept where the header can hold both
    exactly; otherwise the intensities are written. Either way the file brings back the same
    voxels, and the same affine where the source came from NIfTI (see `header_for` for others).

    Args:
        source: What to save; read once, in disk order.
        path: Ends in ``.nii`` or ``.nii.gz``.
        overwrite: Whether a file that exists is replaced.

    Raises:
        UnsupportedError: NIfTI cannot hold the data type, or the suffix is another
            (``UNSUPPORTED_DTYPE``, ``UNKNOWN_SUFFIX``).
        ArchiveExistsError: The file exists and ``overwrite`` is False.
        ArchiveError: The disk is full or fails.
    """
    suffix = suffix_of(path)
    if suffix not in SUFFIXES:
        raise UnsupportedError(
            f"NIfTI files end in {' or '.join(SUFFIXES)}, not {suffix!r}",
            code="UNKNOWN_SUFFIX",
            path=path,
        )
    voxels, header = representation(source)
    with (
        atomic_write(path, overwrite=overwrite) as file,
        sink_of(file, compressed=suffix != ".nii") as sink,
    ):
        sink.write(header + bytes(EXTENSION_FLAG_BYTES))
        write_volumes(voxels, sink, stored_dtype(voxels.dtype))


def representation(source: Source) -> tuple[Source, bytes]:
    """What to write, and its header: stored voxels with a scaling if that is exact, else
    intensities.
    """
    raw = source.unscaled()
    if source.scaling is not None:
        header = _header(raw, source)
        if NiftiHeader.parse(header).scaling == source.scaling:
            return raw, header
        raw = source
    return raw, _header(raw, None)


def _header(voxels: Source, scaled: Source | None) -> bytes:
    return header_for(
        voxels.shape,
        voxels.dtype,
        voxels.affine,
        voxels.channels,
        None if scaled is None else scaled.scaling,
        voxels.original_header,
    )


def save(request: SaveRequest) -> None:
    """Save a NIfTI file as it is asked for."""
    write_nifti(request.source, request.path, overwrite=request.overwrite)
