"""Writing fields of a NIfTI header: an empty one, its transforms, its dimensions."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.geometry.grid import checked_affine
from voxarray.geometry.selection import Shape4
from voxarray.nifti_header.affine import qform, quaternion
from voxarray.nifti_header.fields import (
    EOL_CHECK,
    EXTENSION_FLAG_BYTES,
    HEADER_BYTES,
    MAGIC,
    MILLIMETRE,
    NOT_TIME,
    SECOND,
    VECTOR,
    Version,
    layout_of,
)
from voxarray.source.base import Channels

_QFORM_TOLERANCE = 1e-3  # of a direction: 0.06 degrees


def blank(version: Version) -> Any:
    """A little-endian record of a single file in mm, without extensions."""
    # NumPy copies a record field by field, which takes five times as long.
    return np.frombuffer(bytearray(_blank(version)), layout_of(version, "<"))[0]


@cache
def _blank(version: Version) -> bytes:
    record = np.zeros((), layout_of(version, "<"))[()]
    record["sizeof_hdr"] = HEADER_BYTES[version]
    record["magic"] = MAGIC[version]
    record["vox_offset"] = HEADER_BYTES[version] + EXTENSION_FLAG_BYTES
    record["pixdim"] = 1
    record["xyzt_units"] = MILLIMETRE
    if version == 1:
        record["regular"] = b"r"  # nifti1.h: unused, but ANALYZE readers expect it
    else:
        record["eol_check"] = EOL_CHECK
    return bytes(record.tobytes())


def set_affine(record: Any, affine: NDArray[np.float64], code: int) -> None:
    """Write an affine in mm as an sform, and as a qform if that holds it, both with one code."""
    matrix = checked_affine(affine)
    record["srow"] = matrix[:3]
    record["sform_code"] = code
    record["pixdim"][1:4] = np.linalg.norm(matrix[:3, :3], axis=0)
    set_qform(record, matrix, code)


def set_qform(record: Any, matrix: NDArray[np.float64], code: int) -> None:
    """Write an affine whose spacings stand in the header as a qform; code 0 if it holds it not."""
    record["qform_code"] = 0
    rotation = quaternion(matrix)
    if rotation is not None:
        record["quatern"], record["pixdim"][0] = rotation
        record["qoffset"] = matrix[:3, 3]
        # Near a half turn the float32 of NIfTI-1 is off by up to 2e-3: then the sform stands alone.
        stored = qform(record)[:3, :3] / record["pixdim"][1:4]
        requested = matrix[:3, :3] / record["pixdim"][1:4]
        record["qform_code"] = code if np.abs(stored - requested).max() < _QFORM_TOLERANCE else 0


def set_dimensions(record: Any, shape: Shape4, channels: Channels) -> None:
    """Write the sizes, and what the fourth and fifth axes are."""
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
