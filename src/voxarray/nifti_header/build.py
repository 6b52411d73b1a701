"""Making a NIfTI header for voxels and a geometry that come from anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.core.scaling import Scaling
from voxarray.geometry.grid import checked_affine
from voxarray.geometry.selection import Shape4
from voxarray.nifti_header.affine import best_affine, qform, quaternion
from voxarray.nifti_header.fields import (
    DATATYPES,
    EOL_CHECK,
    EXTENSION_FLAG_BYTES,
    HEADER_BYTES,
    LARGEST_SIZE,
    LAYOUT,
    MAGIC,
    MILLIMETRE,
    NOT_TIME,
    SCANNER,
    SECOND,
    VECTOR,
    Version,
)
from voxarray.nifti_header.header import NiftiHeader
from voxarray.source.base import Channels

_QFORM_TOLERANCE = 1e-3  # of a direction: 0.06 degrees

_CODES = {dtype: code for code, dtype in DATATYPES.items()}


def header_for(
    shape: Shape4,
    dtype: np.dtype,
    affine: NDArray[np.float64],
    channels: Channels = Channels(),
    scaling: Scaling | None = None,
    template: bytes | None = None,
) -> bytes:
    """Header of a single little-endian NIfTI file, 348 bytes, or 540 where a size needs them.

    One channel makes three dimensions; time makes the fourth, channels the fifth (vector intent).

    A template whose affine is exactly the one that is asked for gives everything that does not
    follow from the arguments: the transforms with their codes, hence the very same affine when it
    is read again, display range, slice timing, intent. Otherwise the affine is written as an sform
    in scanner space, rounded to the float32 of NIfTI-1 (the format's own limit), and as a qform if
    its axes are orthogonal.

    Args:
        shape: (C, W, H, D).
        dtype: Of the stored voxels; bool counts as uint8.
        affine: (4, 4) voxel index to RAS+ mm.
        channels: What C counts.
        scaling: Slope and intercept that readers shall apply.
        template: Header that described the image so far, NIfTI-1 or -2.

    Raises:
        UnsupportedError: NIfTI has no such data type (``UNSUPPORTED_DTYPE``).
    """
    code, stored = _datatype(np.dtype(dtype))
    record = None if template is None else _kept(template, shape, affine, channels)
    if record is None:
        record = _blank(1 if max(shape) <= LARGEST_SIZE[1] else 2)
        _set_dimensions(record, shape, channels)
        _set_affine(record, affine)
    record["datatype"], record["bitpix"] = code, 8 * stored.itemsize
    record["scl_slope"] = 1 if scaling is None else scaling.slope
    record["scl_inter"] = 0 if scaling is None else scaling.intercept
    return bytes(record.tobytes())


def stored_dtype(dtype: np.dtype) -> np.dtype:
    """Little-endian type in which NIfTI stores these voxels.

    Raises:
        UnsupportedError: There is none (``UNSUPPORTED_DTYPE``).
    """
    return _datatype(np.dtype(dtype))[1]


def _datatype(dtype: np.dtype) -> tuple[int, np.dtype]:
    native = np.dtype(np.uint8) if dtype == np.bool_ else dtype.newbyteorder("=")
    code = _CODES.get(native)
    if code is None:
        names = ", ".join(sorted(known.name for known in _CODES))
        raise UnsupportedError(
            f"NIfTI cannot hold {dtype.name} voxels, only bool, {names}: convert them first, "
            "for instance to float32",
            code="UNSUPPORTED_DTYPE",
        )
    return code, native.newbyteorder("<")


def _blank(version: Version) -> Any:
    record = np.zeros((), LAYOUT[version].newbyteorder("<"))[()]
    record["sizeof_hdr"] = HEADER_BYTES[version]
    record["magic"] = MAGIC[version]
    record["vox_offset"] = HEADER_BYTES[version] + EXTENSION_FLAG_BYTES
    record["pixdim"] = 1
    record["xyzt_units"] = MILLIMETRE
    if version == 1:
        record["regular"] = b"r"  # nifti1.h: unused, but ANALYZE readers expect it
    else:
        record["eol_check"] = EOL_CHECK
    return record


def _kept(
    template: bytes, shape: Shape4, affine: NDArray[np.float64], channels: Channels
) -> Any | None:
    """The template as a little-endian record, None if it would place the voxels elsewhere."""
    header = NiftiHeader.parse(template)
    record = header.record.astype(LAYOUT[header.version].newbyteorder("<"))
    blank = _blank(header.version)
    for field in ("magic", "vox_offset"):  # a pair becomes a single file, without extensions
        record[field] = blank[field]
    if header.colours or (header.shape, header.channels) != (shape, channels):
        if max(shape) > LARGEST_SIZE[header.version]:
            return None
        _set_dimensions(record, shape, channels)
    return record if np.array_equal(best_affine(record), affine) else None


def _set_affine(record: Any, affine: NDArray[np.float64]) -> None:
    matrix = checked_affine(affine)
    record["srow"] = matrix[:3]
    record["sform_code"] = SCANNER
    record["pixdim"][1:4] = np.linalg.norm(matrix[:3, :3], axis=0)
    found = quaternion(matrix)
    if found is not None:
        record["quatern"], record["pixdim"][0] = found
        record["qoffset"] = matrix[:3, 3]
        # Near a half turn the float32 of NIfTI-1 is off by up to 2e-3: then the sform stands alone.
        held = qform(record)[:3, :3] / record["pixdim"][1:4]
        asked = matrix[:3, :3] / record["pixdim"][1:4]
        record["qform_code"] = SCANNER if np.abs(held - asked).max() < _QFORM_TOLERANCE else 0


def _set_dimensions(record: Any, shape: Shape4, channels: Channels) -> None:
    count, *spatial = shape
    units = int(record["xyzt_units"]) & 7
    intent = int(record["intent_code"])
    record["pixdim"][4:] = 1
    if channels.kind == "time":
        dim = [*spatial, count]
        record["pixdim"][4] = channels.step
        record["xyzt_units"] = units | SECOND
        record["intent_code"] = 0 if intent in NOT_TIME else intent
    else:
        dim = [*spatial, 1, count] if count > 1 else spatial
        record["xyzt_units"] = units
        record["intent_code"] = VECTOR if count > 1 else intent
    record["dim"] = 1
    record["dim"][: len(dim) + 1] = [len(dim), *dim]
