"""What is odd about a NIfTI header and does not keep the image from being read."""

from __future__ import annotations

import math

from voxarray.core.errors import FormatError, GridError
from voxarray.geometry.grid import Grid
from voxarray.nifti_header.affine import is_surface, qform, rounding, sform, xform_code
from voxarray.nifti_header.fields import SPACE_UNITS, XFORM_CODES
from voxarray.nifti_header.header import NiftiHeader

_SAME_PLACE = 0.5
"""Voxels by which sform and qform may differ, for instance by rounding, and still agree."""

_NEAR = 0.1
"""Of the smallest spacing, which is well below `_SAME_PLACE` voxels."""


def remarks(header: NiftiHeader) -> list[str]:
    """Texts for warnings; each begins with the upper-case name of what was found."""
    checks = (_sizes, _voxels, _spacing, _units, _codes, _transforms)
    return [text for check in checks for text in check(header)]


def _sizes(header: NiftiHeader) -> list[str]:
    warnings = []
    used, *dim = header.record["dim"].tolist()
    if is_surface(header.record):
        warnings.append(
            f"SURFACE: the file holds values of the {header.shape[1]} vertices of a FreeSurfer "
            f"surface (dim is {header.record['dim'][1:4].tolist()}); they are read as one row of "
            "voxels, as nibabel does"
        )
    if 0 in dim[3:used]:
        warnings.append(
            f"ZERO_DIM: dim is {header.record['dim'].tolist()}; axes after the third whose size "
            "is 0 are read with the size 1"
        )
    return warnings


def _voxels(header: NiftiHeader) -> list[str]:
    bits = 8 * header.stored.itemsize * (header.colours or 1)
    if header.record["bitpix"] == bits:
        return []
    return [
        f"BITPIX_MISMATCH: bitpix is {header.record['bitpix']} and the data type has {bits} bits; "
        "the data type is used"
    ]


def _spacing(header: NiftiHeader) -> list[str]:
    steps = header.record["pixdim"][1:4].tolist()
    if not header.has_spacings:
        return [f"BAD_SPACING: pixdim is {steps}; the spacing is that of the sform"]
    if min(steps) >= 0:
        return []
    return [f"NEGATIVE_SPACING: pixdim is {steps}; the sign is ignored"]


def _units(header: NiftiHeader) -> list[str]:
    unit = SPACE_UNITS.get(int(header.record["xyzt_units"]) & 7, "unknown")
    if unit not in ("metre", "micron"):
        return []
    return [
        f"NOT_MILLIMETRES: the header gives lengths in units of a {unit}; voxarray converts them "
        "to mm, as ITK does, and nibabel does not"
    ]


def _codes(header: NiftiHeader) -> list[str]:
    return [
        f"UNKNOWN_XFORM: the code {field} of a NIfTI transform is {header.record[field]}, which is "
        "unknown; taken as 0"
        for field in ("sform_code", "qform_code")
        if header.record[field] not in XFORM_CODES
    ]


def _transforms(header: NiftiHeader) -> list[str]:
    """Sform and qform that claim the same space and place the volume differently.

    Different codes, such as scanner and MNI, name two spaces: then both are right.
    """
    code = xform_code(header.record, "sform_code")
    if not code or code != xform_code(header.record, "qform_code"):
        return []
    if _are_near(header):
        return []
    try:
        by_sform, by_qform = (Grid(header.shape[1:], f(header.record)) for f in (sform, qform))
        if by_sform.isclose(by_qform, _SAME_PLACE):
            return []
    except (FormatError, GridError):
        pass  # the sform was checked, so it is the qform that is invalid
    return [
        "XFORM_CONFLICT: sform and qform have the same code and place the volume differently; "
        "the sform is used, as nibabel does"
    ]


def _are_near(header: NiftiHeader) -> bool:
    """Whether sform and qform are within a tenth of a voxel, by a bound that costs little.

    False says nothing. Nearly all files hold one transform twice.
    """
    record = header.record
    b, c, d = record["quatern"].tolist()
    qfac, *spacing = record["pixdim"][:4].tolist()
    squared = 1 - (b * b + c * c + d * d)
    smallest = min(spacing)
    if abs(squared) < rounding(record):
        squared = 0.0
    if not (squared >= 0 and smallest > 0):
        return False
    a = math.sqrt(squared)
    rows = (
        (a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)),
        (2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)),
        (2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c),
    )
    signed = (spacing[0], spacing[1], -spacing[2] if qfac == -1 else spacing[2])
    apart = turned = 0.0
    for row, stored, origin in zip(
        rows, record["srow"].tolist(), record["qoffset"].tolist(), strict=True
    ):
        steps = [abs(s - r * n) for s, r, n in zip(stored, row, signed, strict=False)]
        turned += sum(steps)
        apart += abs(stored[3] - origin)
        apart += sum(step * size for step, size in zip(steps, header.shape[1:], strict=True))
    # The columns of a qform are orthogonal, so that no world distance is more voxels than this.
    return bool(apart < _NEAR * smallest and turned < _NEAR * smallest)
