"""What is odd about a NIfTI header and does not keep the image from being read."""

from __future__ import annotations

from voxarray.core.errors import FormatError, GridError
from voxarray.geometry.grid import Grid
from voxarray.nifti_header.affine import is_surface, qform, sform, xform_code
from voxarray.nifti_header.fields import SPACE_UNITS, XFORM_CODES
from voxarray.nifti_header.header import NiftiHeader

_SAME_PLACE = 0.5
"""Voxels by which sform and qform may differ, for instance by rounding, and still agree."""


def remarks(header: NiftiHeader) -> list[str]:
    """Texts for warnings; each begins with the upper-case name of what was found."""
    checks = (_sizes, _voxels, _spacing, _units, _codes, _transforms)
    return [text for check in checks for text in check(header)]


def _sizes(header: NiftiHeader) -> list[str]:
    found = []
    used = int(header.record["dim"][0])
    if is_surface(header.record):
        found.append(
            f"SURFACE: dim is {header.record['dim'][1:4].tolist()}, by which FreeSurfer means "
            f"{header.shape[1]} vertices in a row, as nibabel reads it"
        )
    if (header.record["dim"][4 : used + 1] == 0).any():
        found.append(
            f"ZERO_DIM: dim is {header.record['dim'].tolist()}; axes beyond the third that have no "
            "size count as one"
        )
    return found


def _voxels(header: NiftiHeader) -> list[str]:
    bits = 8 * header.stored.itemsize * (header.colours or 1)
    if header.record["bitpix"] == bits:
        return []
    return [
        f"BITPIX_MISMATCH: bitpix is {header.record['bitpix']} and the data type has {bits} bits; "
        "the data type is used"
    ]


def _spacing(header: NiftiHeader) -> list[str]:
    steps = header.record["pixdim"][1:4]
    if not header.has_spacings:
        return [f"BAD_SPACING: pixdim is {steps.tolist()}; the spacing is that of the sform"]
    if not (steps < 0).any():
        return []
    return [f"NEGATIVE_SPACING: pixdim is {steps.tolist()}; the sign is ignored"]


def _units(header: NiftiHeader) -> list[str]:
    unit = SPACE_UNITS.get(int(header.record["xyzt_units"]) & 7, "unknown")
    if unit not in ("metre", "micron"):
        return []
    return [
        f"NOT_MILLIMETRES: the header gives lengths in units of a {unit}; they are converted, as "
        "ITK does, and nibabel keeps its numbers"
    ]


def _codes(header: NiftiHeader) -> list[str]:
    return [
        f"UNKNOWN_XFORM: {field} is {header.record[field]}; taken as 0"
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
