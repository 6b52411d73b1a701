"""The three ways in which a NIfTI header places voxels, chosen and computed as nibabel does.

All results are (4, 4) float64, voxel index to RAS+ mm. Formulas: nifti1.h, sections
"3D IMAGE (VOLUME) ORIENTATION AND LOCATION IN SPACE" and "QUATERNION REPRESENTATION".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError
from voxarray.nifti_header.fields import MILLIMETRES, XFORM_CODES

Affine = NDArray[np.float64]

_ORTHOGONAL = 1e-6
"""Largest cosine between the voxel axes of an affine that a quaternion can hold."""


def affine_in_mm(record: Any) -> Affine:
    """The affine that counts, whatever the header's unit of length."""
    affine = best_affine(record)
    affine[:3] *= millimetres(record)
    return affine


def millimetres(record: Any) -> float:
    """Millimetres per unit of length of a header."""
    return MILLIMETRES.get(int(record["xyzt_units"]) & 7, 1.0)


def best_affine(record: Any) -> Affine:
    """The sform if it has a code, else the qform if it has one, else scaling about the centre.

    In the header's own unit of length.
    """
    if xform_code(record, "sform_code"):
        return sform(record)
    if xform_code(record, "qform_code"):
        return qform(record)
    return base_affine(record)


def xform_code(record: Any, field: str) -> int:
    """Code of a transform; 0, which means "not there", for codes that NIfTI does not know."""
    code = int(record[field])
    return code if code in XFORM_CODES else 0


def sform(record: Any) -> Affine:
    """The affine that stands in the header row by row."""
    affine = np.eye(4)
    affine[:3] = record["srow"]
    return affine


def qform(record: Any) -> Affine:
    """The affine made of a unit quaternion, the spacings, a handedness and an offset.

    Raises:
        FormatError: If the quaternion is longer than 1 (``BAD_AFFINE``).
    """
    spacing = spacings(record).astype(np.longdouble)
    spacing[2] *= handedness(record)
    affine = np.eye(4)
    affine[:3, :3] = _rotation(record) * spacing
    affine[:3, 3] = record["qoffset"]
    return affine


def base_affine(record: Any) -> Affine:
    """Spacings only: the world's origin is the volume's centre and x runs to the left.

    ANALYZE 7.5 left it at that; nibabel's ``shape_zoom_affine`` reads it as radiological.
    """
    steps = spacings(record).astype(np.float64)
    steps[int(record["dim"][0]) :] = 1  # the z of a plane, whatever its field holds
    steps[0] *= -1
    centre = (sizes(record)[:3] - 1) / 2
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = -centre * steps
    return affine


def sizes(record: Any) -> NDArray[np.int64]:
    """(7,) voxels along each axis, 1 for axes beyond ``dim[0]``, whose fields may hold anything."""
    return np.array(_sizes(record), np.int64)


def _sizes(record: Any) -> list[int]:
    # Lists: for seven numbers NumPy takes several times as long, and a header is asked often.
    used, *stored = record["dim"].tolist()
    dim = [*stored[: max(0, used)], *[1] * 7][:7]
    # FreeSurfer's surfaces have more vertices than 16 bits can say. nibabel reads them like this.
    if is_surface(record):
        dim[:3] = (int(record["glmin"]) or -1, 1, 1) if dim[0] == -1 else (163_842, 1, 1)
    dim[3:] = [size or 1 for size in dim[3:]]  # axes beyond space that nobody counted
    return dim


def is_surface(record: Any) -> bool:
    """Whether sizes are FreeSurfer's for the vertices of a surface, which are stored in a row."""
    if "glmin" not in record.dtype.names:  # NIfTI-2, which needs no such thing
        return False
    return record["dim"][1:4].tolist() in ([27_307, 1, 6], [-1, 1, 1])


def spacings(record: Any) -> NDArray:
    """(3,) mm along x, y, z, in the header's precision, sign dropped.

    An axis of a single voxel has no spacing that matters, so 0 counts as 1 mm there.
    """
    steps = np.abs(record["pixdim"][1:4]).astype(record["pixdim"].dtype.newbyteorder("="))
    if not steps.all():
        steps[(sizes(record)[:3] == 1) & (steps == 0)] = 1
    return np.asarray(steps)


def handedness(record: Any) -> int:
    """``qfac``: -1 if the z axis of the quaternion's frame is reversed, else 1."""
    return -1 if record["pixdim"][0] == -1 else 1


def quaternion(affine: Affine) -> tuple[NDArray[np.float64], int] | None:
    """Quaternion (b, c, d) and handedness of an affine, None if its axes are not orthogonal."""
    direction = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = direction.T @ direction - np.eye(3)
    if np.abs(cosines).max() > _ORTHOGONAL:
        return None
    qfac = 1 if np.linalg.det(direction) > 0 else -1
    direction[:, 2] *= qfac
    return _unit_quaternion(direction)[1:], qfac


def rounding(record: Any) -> float:
    """Squares of a quaternion's real part that count as 0: they may be rounding of the other parts.

    A half turn may come out a little longer than 1. The threshold is nibabel's.
    """
    return 3 * float(np.finfo(record["quatern"].dtype).eps)


def _rotation(record: Any) -> NDArray[np.longdouble]:
    """(3, 3) rotation of the header's quaternion, whose real part is what makes it a unit."""
    vector = record["quatern"].astype(np.longdouble)
    squared = 1 - vector @ vector
    if abs(squared) < rounding(record):
        squared = np.longdouble(0)
    if not squared >= 0:
        raise FormatError(
            f"the qform's quaternion (b, c, d) = {record['quatern'].tolist()} is longer than 1: "
            "repair it, or give the image an affine",
            code="BAD_AFFINE",
        )
    real = np.sqrt(squared)
    x, y, z = vector
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    norm = vector @ vector
    scale = 2 / (real * real + norm)
    rotation = np.eye(3) + scale * (real * cross + np.outer(vector, vector) - norm * np.eye(3))
    return np.asarray(rotation)


def _unit_quaternion(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4,) quaternion with a real part >= 0, by Bar-Itzhack's method.

    It is the eigenvector of the largest eigenvalue of a symmetric matrix made of the rotation,
    which stays accurate for half turns, where formulas with a square root do not
    (doi:10.2514/2.4654).
    """
    r = rotation
    upper = np.array(
        [
            [r[0, 0] + r[1, 1] + r[2, 2], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [0, r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]],
            [0, 0, r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1]],
            [0, 0, 0, r[2, 2] - r[0, 0] - r[1, 1]],
        ]
    )
    _, vectors = np.linalg.eigh(upper, UPLO="U")
    largest: NDArray[np.float64] = vectors[:, -1]
    return -largest if largest[0] < 0 else largest
