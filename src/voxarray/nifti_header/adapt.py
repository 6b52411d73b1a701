"""What of a NIfTI header still holds after something was done to the voxels.

Facts of the space survive whatever leaves the anatomy in its place: slices, crops, flips and other
grids are in the space in which the image was, so the codes stay and both transforms are carried
over. Facts of the acquisition survive as long as the axes that they speak of. Facts of the
intensities survive as long as nobody computed others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.geometry.selection import Shape4
from voxarray.nifti_header.affine import is_surface, qform, quaternion, sform, xform_code
from voxarray.nifti_header.fields import (
    ALIGNED,
    LARGEST_SIZE,
    MILLIMETRE,
    MILLIMETRES,
    SECONDS,
    TIME_UNITS,
)
from voxarray.nifti_header.header import NiftiHeader
from voxarray.nifti_header.write_fields import blank, set_affine, set_dimensions, set_qform
from voxarray.source.base import Channels, OriginalHeader

_PARALLEL = 1 - 1e-6
_SAME = 1e-6  # of the largest number of an affine: what float32 keeps of it

_OWN = frozenset({"sizeof_hdr", "magic", "vox_offset", "eol_check"})
"""Fields that say of what kind a file is, not what is in it."""

_OF_INTENSITIES = ("cal_max", "cal_min", "intent_code", "intent_p")
_TIMES = ("toffset", "slice_duration")
_OF_SLICES = ("slice_start", "slice_end", "slice_code", "slice_duration")


def adapted(
    origin: OriginalHeader, shape: Shape4, affine: NDArray[np.float64], channels: Channels
) -> Any:
    """A little-endian record for voxels that come from those that a header describes.

    Args:
        origin: The header.
        shape: (C, W, H, D) of the voxels now.
        affine: (4, 4) voxel index to RAS+ mm now.
        channels: What C counts now.
    """
    header = NiftiHeader.parse(origin.raw)
    record = _little_endian(header, shape)
    if not origin.same_values:
        for field in _OF_INTENSITIES:
            record[field] = 0
    is_odd = is_surface(header.record) or 0 in header.record["dim"].tolist()[1:]
    if header.colours or is_odd or (header.shape, header.channels) != (shape, channels):
        # Of volumes in reverse, whose step is unknown, the first is not that of the header.
        if header.shape[0] != shape[0] or channels.step != header.channels.step:
            record["toffset"] = 0
        set_dimensions(record, shape, channels)
        _keep_times(record, header)
    # Without a code the place follows from the sizes: the centre of the volume is the origin.
    has_code = any(xform_code(header.record, f"{kind}form_code") for kind in "sq")
    has_sizes = header.shape[1:] == shape[1:]
    is_placed = origin.same_space and np.array_equal(header.affine, affine)
    is_placed = is_placed and (has_code or has_sizes)
    is_whole = header.has_spacings and int(record["xyzt_units"]) & 7 not in MILLIMETRES
    if not is_placed or not is_whole:
        _move(record, header if origin.same_space else None, affine)
        record["xyzt_units"] = (int(record["xyzt_units"]) & ~7) | MILLIMETRE
    if origin.moved_axes or not (is_placed and has_sizes):
        _keep_slices(record, header, shape, affine, origin.moved_axes)
    return record


def _little_endian(header: NiftiHeader, shape: Shape4) -> Any:
    """The fields of a header as those of a single file without extensions."""
    version = header.version if max(shape) <= LARGEST_SIZE[header.version] else 2
    record = blank(version)
    if header.version == version:  # the same fields: all at once, and back to what is its own
        stored = np.frombuffer(bytearray(header.raw), header.record.dtype)
        converted = stored.astype(record.dtype, copy=False)[0]
        for field in _OWN:
            if field in record.dtype.names:
                converted[field] = record[field]
        return converted
    for field in set(record.dtype.names) & set(header.record.dtype.names) - _OWN:
        record[field] = header.record[field]
    return record


def _move(record: Any, header: NiftiHeader | None, affine: NDArray[np.float64]) -> None:
    """Both transforms for voxels whose indices lie otherwise in the same space.

    A header without a code names no space, and neither does one whose space was left (None). The
    affine has to be written down all the same, and "aligned" is what nibabel calls a space of which
    nothing is known.
    """
    if header is None:
        set_affine(record, affine, ALIGNED)
        return
    old = header.record
    by_sform, by_qform = (xform_code(old, f"{kind}form_code") for kind in "sq")
    set_affine(record, affine, by_sform or by_qform or ALIGNED)
    if not by_sform and by_qform:
        # The quaternion alone counts in such a file; it stays so if it is as good as the sform.
        stored = qform(record)
        scale = np.abs(affine).max()
        if record["qform_code"] and np.allclose(stored, affine, rtol=0, atol=_SAME * scale):
            record["sform_code"], record["srow"] = 0, 0
        return
    record["qform_code"] = 0
    if by_sform and by_qform:
        scale = header.millimetres
        in_mm = np.diag([scale, scale, scale, 1.0])
        moved = in_mm @ qform(old) @ np.linalg.solve(in_mm @ sform(old), affine)
        if quaternion(moved) is not None and _has_spacing(moved, record):
            set_qform(record, moved, by_qform)


def _has_spacing(matrix: NDArray[np.float64], record: Any) -> bool:
    """Whether a transform has the spacings of a header, which both of its transforms share."""
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    return bool(np.allclose(spacing, record["pixdim"][1:4], rtol=1e-3))


def _keep_times(record: Any, header: NiftiHeader) -> None:
    """Say in seconds what was said in the unit that the header had for the fourth axis.

    Dimensions are written in seconds or without a unit, which readers take for seconds, too. What
    was hertz or ppm is no time.
    """
    seconds = SECONDS.get(int(header.record["xyzt_units"]) & TIME_UNITS, 0.0)
    for field in _TIMES:
        record[field] = float(record[field]) * seconds


def _keep_slices(
    record: Any,
    header: NiftiHeader,
    shape: Shape4,
    affine: NDArray[np.float64],
    moved_axes: tuple[int, ...],
) -> None:
    """Drop what is said of acquired slices that are no longer the slices of the image."""
    before, after = (a[:3, :3] / np.linalg.norm(a[:3, :3], axis=0) for a in (header.affine, affine))
    cosines = np.abs((before * after).sum(axis=0))
    if not (cosines > _PARALLEL).all():
        record["dim_info"] = 0
    axis = (int(record["dim_info"]) >> 4) & 3
    is_same = axis and axis - 1 not in moved_axes and header.shape[axis] == shape[axis]
    if is_same and np.allclose(header.affine[:3, axis - 1], affine[:3, axis - 1], rtol=1e-6):
        return
    for field in _OF_SLICES:
        record[field] = 0
