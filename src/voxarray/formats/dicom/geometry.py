"""Where a stack of planes is, or why that cannot be said.

The traps, each of which silently makes a wrong image somewhere:

* DICOM's world is LPS+ (to the patient's left, back, head), ours RAS+: x and y change their sign.
* Image Orientation names first the direction in which *columns* follow one another (along a row,
  our x axis), then that in which *rows* do (our y).
* Pixel Spacing names them the other way round: first the distance between *rows* (y), then that
  between *columns* (x).
* Slices are as far apart as their positions say. Slice Thickness is something else, and so, in the
  files of some manufacturers, is Spacing Between Slices.

Formula: PS3.3, C.7.6.2.1.1, equation C.7.6.2.1-1. Voxel axes are those of pydicom and SimpleITK
with x and y in their places: x is the column, y the row, and slices follow the cross product of the
two directions, so that the axes are right-handed in LPS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError
from voxarray.formats.dicom.frame import Frame
from voxarray.geometry.grid import checked_affine

TOLERANCE = 0.01
"""Share of the slice spacing by which a plane may be off the place that the affine gives it."""

_SAME_DIRECTION = 1e-4
"""Largest difference of two cosines that count as equal: 0.025 mm over 250 mm."""

_ORTHOGONAL = 1e-3

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True)
class Stack:
    """Planes in order.

    Attributes:
        affine: (4, 4) voxel index (column, row, slice) to RAS+ mm.
        slices: For each plane, the number of its slice.
        depth: Number of slices.
    """

    affine: NDArray[np.float64]
    slices: list[int]
    depth: int


def stack(frames: Sequence[Frame], *, with_holes: bool = False) -> Stack:
    """Order planes along their normal.

    A single slice is as thick as Spacing Between Slices says, else Slice Thickness, else 1 mm. A
    plane that says nothing of its place (radiographs, photographs, ultrasound) gets the axes that
    a picture has: columns to the left, rows to the back, from the origin, as in SimpleITK. A plane
    that has a position and no orientation, or the reverse, is refused: whatever the other half
    were taken to be, the image would be somewhere.

    Args:
        frames: At least one.
        with_holes: Whether slices may be absent at whole multiples of the spacing that is stated,
            as in segmentations, where an absent plane is empty.

    Raises:
        FormatError: ``NO_POSITION``, ``NO_SPACING``, ``BAD_ORIENTATION``, ``MIXED_SPACING``,
            ``MIXED_ORIENTATION``, ``MISSING_SLICE``, ``NON_UNIFORM_SPACING``, ``GANTRY_TILT``.
    """
    if all(frame.position is None and frame.orientation is None for frame in frames):
        return _without_place(frames)
    axes = _in_plane(frames)
    normal = np.cross(axes[0], axes[1])
    positions = np.array([frame.position for frame in frames])
    # By place, not by Instance Number, which may run either way, or with time.
    heights = positions @ normal
    slices = _cluster(heights)
    if with_holes:
        slices = _with_holes(heights, slices, frames[0].slice_spacing)
    depth = max(slices) + 1
    step = normal * (frames[0].slice_spacing or 1.0)
    if depth > 1:
        if not with_holes:
            _require_uniform(heights, slices)
        low, high = int(np.argmin(slices)), int(np.argmax(slices))
        # From the outermost planes, where decimals that were rounded off weigh least.
        step = (positions[high] - positions[low]) / (depth - 1)
    origin = positions[int(np.argmin(slices))]
    _require_on_line(positions, slices, origin, step, normal)
    rows, columns = _shared_spacing(frames)
    lps = np.eye(4)
    # The first cosines are those of a row, along which columns follow (PS3.3, C.7.6.2.1.1);
    # Pixel Spacing names the distance between rows first (PS3.3, 10.7.1.3).
    lps[:3] = np.column_stack([axes[0] * columns, axes[1] * rows, step, origin])
    return Stack(checked_affine(LPS_TO_RAS @ lps), slices, depth)


def _in_plane(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """Directions (2, 3) in LPS in which columns, then rows follow one another."""
    _require_place(frames)
    orientations = np.array([frame.orientation for frame in frames]).reshape(-1, 2, 3)
    if np.abs(orientations - orientations[0]).max() > _SAME_DIRECTION:
        kinds = {tuple(np.round(axes.ravel(), 3)) for axes in orientations}
        raise FormatError(
            f"{len(frames)} planes have {max(2, len(kinds))} orientations, as those of a localizer "
            "do: expected one; put each orientation into a folder of its own",
            code="MIXED_ORIENTATION",
        )
    axes: NDArray[np.float64] = orientations[0]
    if abs(axes[0] @ axes[1]) > _ORTHOGONAL:
        raise FormatError(
            f"rows and columns are {np.degrees(np.arccos(axes[0] @ axes[1])):.2f} degrees apart, "
            "expected 90: repair Image Orientation, or export the series again",
            code="BAD_ORIENTATION",
        )
    return axes


def _require_place(frames: Sequence[Frame]) -> None:
    """Refuse planes that state half of a place, or none where others have one."""
    lacking = {
        "Image Position": sum(frame.position is None for frame in frames),
        "Image Orientation": sum(frame.orientation is None for frame in frames),
    }
    without = max(lacking.values())
    if without:
        missing = " and ".join(f"{name} ({n} of them)" for name, n in lacking.items() if n)
        raise FormatError(
            f"{without} of {len(frames)} planes {'does' if without == 1 else 'do'} not say where "
            f"{'it is' if without == 1 else 'they are'}: planes lack {missing}; position and "
            "orientation are both needed. Choose a series that has them, export this one again, "
            "or open it with reader=, a function of yours that returns voxels and an affine",
            code="NO_POSITION",
        )
    axes = {frame.axes for frame in frames}
    if len(axes) > 1:
        raise FormatError(
            f"planes state their positions in different frames of reference "
            f"({', '.join(sorted(axes))}): expected one; open them separately",
            code="NO_POSITION",
        )


def _median(values: NDArray[np.float64]) -> float:
    # As np.median, which loads numpy.ma for it: 11 ms of the 200 that a header may take.
    ordered, last = np.sort(values), len(values) - 1
    return float(ordered[last // 2] + ordered[len(values) // 2]) / 2


def _cluster(heights: NDArray[np.float64]) -> list[int]:
    """Number of the slice of each plane; planes much nearer than slices are share one."""
    order = np.argsort(heights, kind="stable")
    gaps = np.diff(heights[order])
    apart = gaps[gaps > 1e-3]  # positions are written with three decimals, or more
    smallest = TOLERANCE * _median(apart) if apart.size else np.inf
    slices = np.empty(len(heights), int)
    slices[order] = np.concatenate([[0], np.cumsum(gaps > max(smallest, 1e-3))])
    return [int(n) for n in slices]


def _require_uniform(heights: NDArray[np.float64], slices: list[int]) -> None:
    firsts = np.array([heights[slices.index(n)] for n in range(max(slices) + 1)])
    gaps = np.diff(firsts)
    spacing = _median(gaps)
    off = np.abs(gaps / spacing - 1)
    if off.max() <= 2 * TOLERANCE:  # two planes, each off by the tolerance at most
        return
    worst = int(np.argmax(off))
    where = f"between slices {worst} and {worst + 1} (counted from 0)"
    missing = np.rint(gaps / spacing) - 1
    count = int(missing.sum())
    if missing.any() and np.abs(gaps / spacing - 1 - missing).max() <= 0.05:
        raise FormatError(
            f"{count} of {len(firsts) + count} slices {'is' if count == 1 else 'are'} missing: "
            f"{gaps[worst]:.4g} mm {where}, while other neighbours are {spacing:.4g} mm apart; "
            "find the missing files",
            code="MISSING_SLICE",
        )
    raise FormatError(
        f"slices are {gaps.min():.4g} to {gaps.max():.4g} mm apart; the median is {spacing:.4g} "
        f"mm, and the distance {where} differs most from it: expected distances that are equal to "
        f"within {TOLERANCE:.0%}; resample the slices first, for instance with dcm2niix",
        code="NON_UNIFORM_SPACING",
    )


def _with_holes(
    heights: NDArray[np.float64], slices: list[int], spacing: float | None
) -> list[int]:
    """Slices of a segmentation, whose empty planes may be left out (PS3.3, C.8.20.2)."""
    if len(set(slices)) == 1:
        return slices
    if spacing is None:
        raise FormatError(
            "the segmentation does not state the distance between its slices: export it again "
            "with Spacing Between Slices",
            code="NO_SPACING",
        )
    steps = (heights - heights.min()) / spacing
    if np.abs(steps - np.rint(steps)).max() > TOLERANCE * max(1, len(set(slices)) - 1):
        raise FormatError(
            f"planes of the segmentation are not at multiples of {spacing:g} mm, the spacing that "
            "it states; export it again with the right spacing",
            code="NON_UNIFORM_SPACING",
        )
    return [int(n) for n in np.rint(steps)]


def _require_on_line(
    positions: NDArray[np.float64],
    slices: list[int],
    origin: NDArray[np.float64],
    step: NDArray[np.float64],
    normal: NDArray[np.float64],
) -> None:
    """Refuse planes that are not where the affine would put them."""
    spacing = float(np.linalg.norm(step))
    sideways = step - (step @ normal) * normal
    if np.linalg.norm(sideways) > TOLERANCE * spacing:
        tilt = np.degrees(np.arctan2(np.linalg.norm(sideways), abs(step @ normal)))
        raise FormatError(
            f"slices are stacked at {tilt:.2f} degrees to their normal (gantry tilt): the image is "
            "sheared; straighten it first, for instance with dcm2niix",
            code="GANTRY_TILT",
        )
    off = np.linalg.norm(positions - origin - np.outer(slices, step), axis=1)
    if off.max() > TOLERANCE * spacing:
        raise FormatError(
            f"slice {slices[int(np.argmax(off))]} (counted from 0) has a plane that is "
            f"{off.max():.4g} mm away from where even spacing along a straight line would put it: "
            "expected at most "
            f"{TOLERANCE:.0%} of the spacing of {spacing:.4g} mm; find the missing files, or "
            "resample the slices first, for instance with dcm2niix",
            code="NON_UNIFORM_SPACING",
        )


def _shared_spacing(frames: Sequence[Frame]) -> tuple[float, float]:
    """Millimetres between rows and between columns."""
    if any(frame.spacing is None for frame in frames):
        raise FormatError(
            "some planes have no pixel spacing: export them again with it, or move them to "
            "another folder",
            code="NO_SPACING",
        )
    spacings = np.array([frame.spacing for frame in frames])
    if np.abs(spacings / spacings[0] - 1).max() > 1e-4:
        raise FormatError(
            f"pixels are {spacings.min():.4g} to {spacings.max():.4g} mm apart: expected one "
            "spacing for all planes; open planes of each spacing separately",
            code="MIXED_SPACING",
        )
    return float(spacings[0, 0]), float(spacings[0, 1])


def _without_place(frames: Sequence[Frame]) -> Stack:
    if len({frame.file for frame in frames}) > 1:
        raise FormatError(
            f"{len(frames)} planes do not say where they are (Image Position and Orientation), so "
            "they make no volume: open the files one by one",
            code="NO_POSITION",
        )
    rows, columns = (1.0, 1.0) if frames[0].spacing is None else _shared_spacing(frames)
    lps = np.diag([columns, rows, frames[0].slice_spacing or 1.0, 1.0])
    return Stack(checked_affine(LPS_TO_RAS @ lps), [0] * len(frames), 1)
