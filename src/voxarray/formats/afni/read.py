"""AFNI data sets: a text header (``.HEAD``) and voxels (``.BRIK``, also compressed)."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError
from voxarray.formats._voxels import compression
from voxarray.formats._voxels.compressed_file import CompressedFile
from voxarray.formats._voxels.file_array import FileArray, PlainFile, StoredVoxels
from voxarray.formats._voxels.header_text import beginning, checked_sizes
from voxarray.formats._voxels.nibabel_errors import nibabel_errors
from voxarray.formats._voxels.slice_scaling import PartScaled
from voxarray.formats.companions import companion_file
from voxarray.formats.suffixes import compressed, suffix_of
from voxarray.geometry.lps import ras_from_lps
from voxarray.geometry.selection import Shape4
from voxarray.source.base import Channels, Source
from voxarray.storage.file_identity import FileIdentity

if TYPE_CHECKING:
    from nibabel.brikhead import AFNIHeader

_BRIKS = (".brik", *compressed(".brik"))

_SECONDS = {77001: 1e-3, 77002: 1.0}  # AFNI's codes of units of time


def open_afni(path: str | os.PathLike[str]) -> Source:
    """An AFNI data set; either file may be named, only the header is read.

    Sub-bricks become C, each with its own factor.

    Raises:
        MissingFileError: One of the files is not there.
        FormatError: ``BAD_HEADER``, ``BAD_DIMS``, ``BAD_AFFINE``, ``BAD_SCALE``,
            ``DIMS_EXCEED_FILE``.
        TruncatedError: The file of voxels is shorter than the header says.
    """
    header, data = _files(os.path.abspath(path))
    with header.named_in_errors():
        text = beginning(header).decode("latin-1")
        with nibabel_errors("AFNI"):
            from nibabel.brikhead import AFNIHeader

            facts = AFNIHeader.from_fileobj(io.StringIO(text))
            dtype, affine = _dtype(facts.get_data_dtype()), _affine(facts)
            channels = _channels(facts.info)
        count, w, h, d = _shape(facts.info)
        base = _voxels(
            header,
            data,
            StoredVoxels((count, w, h, d), dtype),
            affine=affine,
            channels=channels,
        )
        with nibabel_errors("AFNI"):  # one for each volume: only now their number is believable
            factors = facts.get_data_scaling()
            number = np.size(facts.info.get("BRICK_FLOAT_FACS", ()))
        if factors is None:
            return base
        if number != count:
            raise FormatError(
                f"BRICK_FLOAT_FACS holds {number} factors for {count} sub-bricks: expected one "
                "for each; repair the header",
                code="BAD_SCALE",
            )
        slopes = np.asarray(factors, np.float64).reshape(-1, 1, 1, 1)
        return PartScaled.of(base, slopes, np.zeros_like(slopes))


def _files(path: str) -> tuple[FileIdentity, FileIdentity]:
    identity, suffix = FileIdentity.of(path), suffix_of(path)
    if suffix == ".head":
        return identity, companion_file(identity.path, suffix, _BRIKS)
    return companion_file(identity.path, suffix, (".head",)), identity


def _dtype(stated: np.dtype) -> np.dtype:
    """Type of a number; AFNI's complex numbers are two floats, which nibabel takes for doubles."""
    dtype = np.dtype(stated)
    return np.dtype(np.complex64).newbyteorder(dtype.byteorder) if dtype.kind == "c" else dtype


def _affine(header: AFNIHeader) -> NDArray[np.float64]:
    """(4, 4) voxel index to RAS+ mm; old files have no matrix, but place each axis by itself.

    Format: README.attributes of AFNI. ORIENT_SPECIFIC says which axis of LPS+ each voxel axis lies
    on; ORIGIN is the centre of the first voxel in that order, and DELTA are the signed steps.

    Raises:
        FormatError: ``BAD_AFFINE``.
    """
    info = header.info
    if "IJK_TO_DICOM_REAL" in info:
        return np.asarray(header.get_affine(), np.float64)
    names = ("ORIENT_SPECIFIC", "ORIGIN", "DELTA")
    codes, origin, steps = (np.ravel(info.get(name, ())).tolist() for name in names)
    axes = [code // 2 for code in codes if code in range(6)]
    if sorted(axes) != [0, 1, 2] or not len(codes) == len(origin) == len(steps) == 3:
        raise FormatError(
            "the header does not say where voxels are: IJK_TO_DICOM_REAL is missing, and "
            f"ORIENT_SPECIFIC is {codes}, ORIGIN {origin} and DELTA {steps} (expected three "
            "numbers each, and orientations of three axes): write the file again with AFNI "
            "(3dcopy OLD NEW)",
            code="BAD_AFFINE",
        )
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, axes] * np.array(steps, np.float64)
    affine[axes, 3] = origin
    return ras_from_lps(affine)


def _shape(info: dict) -> Shape4:
    """(C, W, H, D); nibabel takes sub-bricks for planes where there are fewer than three sizes.

    Format: README.attributes of AFNI; space has three dimensions, the second rank is of sub-bricks.

    Raises:
        FormatError: ``BAD_DIMS``.
    """
    rank, sizes = (np.ravel(info.get(key, ())) for key in ("DATASET_RANK", "DATASET_DIMENSIONS"))
    numbers = [*rank[:2].tolist(), *sizes[:3].tolist()]
    if len(numbers) != 5 or not all(isinstance(n, int) for n in numbers) or numbers[0] != 3:
        raise FormatError(
            f"DATASET_RANK is {rank[:2].tolist()} (expected 3 and the number of sub-bricks), and "
            f"DATASET_DIMENSIONS is {sizes[:3].tolist()} (expected three sizes): repair the header",
            code="BAD_DIMS",
        )
    count, w, h, d = checked_sizes(numbers[1:], 4)
    return count, w, h, d


def _channels(info: dict) -> Channels:
    if "TAXIS_NUMS" not in info:
        return Channels()
    step = float(info["TAXIS_FLOATS"][1]) * _SECONDS.get(info["TAXIS_NUMS"][2], 0.0)
    return Channels("time", step if np.isfinite(step) and step > 0 else 0.0)


def _voxels(
    header: FileIdentity, data: FileIdentity, stored: StoredVoxels, **facts: Any
) -> FileArray:
    common: dict[str, Any] = {"identity": data, "header": header, "stored": stored, **facts}
    decoder = compression.named_so(data.path, ".brik", data)
    if decoder is not None:
        return CompressedFile(decoder=decoder, **common)
    return PlainFile(**common)
