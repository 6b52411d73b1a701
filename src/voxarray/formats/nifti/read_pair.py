"""Images in two files, ``.hdr`` and ``.img``: NIfTI pairs, and ANALYZE 7.5 with SPM's dialects."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import FormatError, UnsupportedError, VoxarrayWarning
from voxarray.core.scaling import Scaling
from voxarray.formats._voxels import compression
from voxarray.formats._voxels.compressed_file import CompressedFile
from voxarray.formats._voxels.file_array import (
    COMPONENTS,
    VOLUMES,
    FileArray,
    PlainFile,
    StoredVoxels,
)
from voxarray.formats._voxels.header_text import checked_sizes
from voxarray.formats._voxels.nibabel_errors import nibabel_errors
from voxarray.formats.companions import companion_file
from voxarray.formats.nifti.header_warnings import remarks
from voxarray.formats.suffixes import HEADER, VOXELS, pair_suffixes, suffix_of
from voxarray.geometry.units import length_in_mm
from voxarray.nifti_header.header import LARGEST_HEADER, NiftiHeader
from voxarray.storage.file_identity import FileIdentity

_PADDING = 1 << 20  # bytes that some writers leave behind the voxels

_VOX_UNITS = slice(56, 60)  # of ANALYZE 7.5

_LARGEST_MAT = 64 << 10  # SPM's holds one or two matrices


def open_pair(path: str | os.PathLike[str]) -> FileArray:
    """The image of a header and a file of voxels; either may be named, only the header is read.

    A header with NIfTI's magic is NIfTI; any other is ANALYZE, and placed as nibabel places it
    (SPM's ``.mat`` beside it counts). What is odd about a NIfTI header is a `VoxarrayWarning`.

    Raises:
        MissingFileError: One of the files is not there.
        FormatError: The header is wrong; codes as in `NiftiHeader.parse`, or ``BAD_HEADER``.
        TruncatedError: The file of voxels is shorter than the header says.
        UnsupportedError: It is valid, but not an image of one (C, W, H, D) array.
    """
    header, data = _files(os.path.abspath(path))
    with header.named_in_errors():
        start = _start(header)
        if _is_nifti(start):
            return _open_nifti(header, data, start)
        return _open_analyze(header, data, start)


def header_of_pair(path: str | os.PathLike[str]) -> NiftiHeader | None:
    """The header of a pair that is NIfTI; None of Analyze's.

    Raises:
        VoxarrayError: As `open_pair`.
    """
    header, _ = _files(os.path.abspath(path))
    with header.named_in_errors():
        start = _start(header)
        return NiftiHeader.parse(start) if _is_nifti(start) else None


def _files(path: str) -> tuple[FileIdentity, FileIdentity]:
    identity, suffix = FileIdentity.of(path), suffix_of(path)
    compressed = suffix[len(HEADER) :]
    if suffix.startswith(HEADER):
        return identity, companion_file(identity.path, suffix, pair_suffixes(VOXELS, compressed))
    return companion_file(identity.path, suffix, pair_suffixes(HEADER, compressed)), identity


def _start(header: FileIdentity) -> bytes:
    return compression.beginning(header, LARGEST_HEADER)[0]


def _is_nifti(start: bytes) -> bool:
    return start[344:347] in (b"ni1", b"n+1") or start[4:7] in (b"ni2", b"n+2")


def _open_nifti(identity: FileIdentity, data: FileIdentity, start: bytes) -> FileArray:
    header = NiftiHeader.parse(start)
    if header.is_single:
        raise UnsupportedError(
            "the header says that its voxels follow it in the same file: rename the file, so that "
            "it ends in .nii",
            code="NOT_A_PAIR",
        )
    axes = COMPONENTS if header.colours else VOLUMES
    stored = StoredVoxels(header.shape, header.stored, axes, header.offset)
    source = _voxels(
        identity,
        data,
        stored,
        affine=header.affine,
        channels=header.channels,
        scaling=header.scaling,
        nifti_header=header.scrubbed(),
    )
    for remark in remarks(header):
        warn_caller(f"{remark} [{identity.path}]", VoxarrayWarning)
    return source


def _open_analyze(identity: FileIdentity, data: FileIdentity, start: bytes) -> FileArray:
    mat = identity.path[: -len(suffix_of(identity.path))] + ".mat"
    placing = FileIdentity.of(mat) if os.path.isfile(mat) else None
    if placing is not None and placing.size > _LARGEST_MAT:
        raise FormatError(
            f"{mat} is too large to hold SPM's matrices: move it away, or save it again with SPM",
            code="BAD_HEADER",
        )
    with nibabel_errors("ANALYZE"):
        import nibabel

        image = nibabel.load(data.path, mmap=False)
        proxy = image.dataobj
        offset, dtype = int(proxy.offset), np.dtype(proxy.dtype)
        slope, intercept = float(proxy.slope), float(proxy.inter)
        affine, sizes = np.array(image.affine), [int(n) for n in proxy.shape]
    affine[:3] *= _analyze_millimetres(start, identity.path)
    sizes = [*checked_sizes(sizes, 7), 1, 1, 1]
    w, h, d, *more = sizes
    count = max(more)
    if dtype.fields is not None or dtype.kind not in "iufc":
        raise UnsupportedError(
            f"voxels of type {dtype} cannot be read: convert them to numbers of 8 to 64 bits first",
            code="UNSUPPORTED_DTYPE",
        )
    if np.prod(more, dtype=object) != count:
        raise UnsupportedError(
            f"sizes {sizes} are not the axes (C, W, H, D) of an image: split the file",
            code="UNSUPPORTED_DIMS",
        )
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise FormatError(
            f"the scaling is {slope}, {intercept}: expected a finite slope other than 0 and a "
            "finite intercept; repair the header",
            code="BAD_SCALE",
        )
    scaling = None if (slope, intercept) == (1, 0) else Scaling(slope, intercept)
    stored = StoredVoxels((count, w, h, d), dtype, VOLUMES, offset)
    return _voxels(identity, data, stored, affine=affine, scaling=scaling, placing=placing)


def _analyze_millimetres(start: bytes, path: str) -> float:
    """Millimetres per unit of an ANALYZE header, whose field ``vox_units`` few programs fill."""
    text = start[_VOX_UNITS].split(b"\0")[0].decode("latin-1").strip()
    factor = length_in_mm(text) or 1.0
    if factor != 1:
        warn_caller(
            f"NOT_MILLIMETRES: the header gives lengths in {text}; voxarray converts them to mm, "
            f"and nibabel does not [{path}]",
            VoxarrayWarning,
        )
    return factor


def _voxels(
    header: FileIdentity, data: FileIdentity, stored: StoredVoxels, **facts: Any
) -> FileArray:
    common: dict[str, Any] = {"identity": data, "header": header, "stored": stored, **facts}
    decoder = compression.named_so(data.path, VOXELS, data, _PADDING)
    if decoder is not None:
        return CompressedFile(decoder=decoder, **common)
    return PlainFile(**common)
