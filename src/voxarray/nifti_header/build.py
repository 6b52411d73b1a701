"""Making a NIfTI header for voxels and a geometry that come from anywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.core.scaling import Scaling
from voxarray.geometry.selection import Shape4
from voxarray.nifti_header.adapt import adapted
from voxarray.nifti_header.fields import DATATYPES, LARGEST_SIZE, SCANNER
from voxarray.nifti_header.write_fields import blank, set_affine, set_dimensions
from voxarray.source.base import Channels, OriginalHeader

_CODES = {dtype: code for code, dtype in DATATYPES.items()}


def header_for(
    shape: Shape4,
    dtype: np.dtype,
    affine: NDArray[np.float64],
    channels: Channels = Channels(),
    scaling: Scaling | None = None,
    template: bytes | OriginalHeader | None = None,
) -> bytes:
    """Header of a single little-endian NIfTI file, 348 bytes, or 540 where a size needs them.

    One channel makes three dimensions; time makes the fourth, channels the fifth (vector intent).

    A template gives everything that still holds (`voxarray.nifti_header.adapt`): where the voxels
    are still in their places, the transforms as they are, hence the very same affine when it is
    read again; elsewhere the codes of the space; display range and intent of the same intensities.
    Without one the affine is written as an sform in scanner space, rounded to the float32 of
    NIfTI-1 (the format's own limit), and as a qform if its axes are orthogonal.

    Args:
        shape: (C, W, H, D).
        dtype: Of the stored voxels; bool counts as uint8.
        affine: (4, 4) voxel index to RAS+ mm.
        channels: What C counts.
        scaling: Slope and intercept that readers shall apply.
        template: Header that described the image so far, or what it was made of.

    Raises:
        UnsupportedError: NIfTI has no such data type (``UNSUPPORTED_DTYPE``).
    """
    code, stored = _datatype(np.dtype(dtype))
    if template is None:
        record = blank(1 if max(shape) <= LARGEST_SIZE[1] else 2)
        set_dimensions(record, shape, channels)
        set_affine(record, affine, SCANNER)
    else:
        origin = template if isinstance(template, OriginalHeader) else OriginalHeader(template)
        record = adapted(origin, shape, affine, channels)
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
        names = ", ".join(sorted(supported.name for supported in _CODES))
        raise UnsupportedError(
            f"NIfTI cannot hold {dtype.name} voxels, only bool, {names}: convert them first, "
            "for instance to float32",
            code="UNSUPPORTED_DTYPE",
        )
    return code, native.newbyteorder("<")
