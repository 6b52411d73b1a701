"""A row per subject: the scan, and beside it the prediction and the reference's outline over it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxarray.rendering.drawing import Style, draw
from voxarray.rendering.figure_file import save_figure
from voxarray.rendering.matplotlib_import import figure
from voxarray.rendering.overlays import labels_at, painted
from voxarray.rendering.planes import Plane, View, as_channels, planes

if TYPE_CHECKING:
    from voxarray.source.drawable import Drawable

_PIXELS = 256
_INCHES = 3.0
_OPACITY = 0.5
_LINE = (255, 255, 255, 255)


@dataclass(frozen=True)
class MontageRow:
    """What is drawn of one subject.

    Attributes:
        title: Above the row.
        plane: Of the scan.
        prediction: (rows, columns, 4) RGBA over the plane.
        outline: (rows, columns, 4) RGBA of the reference.
    """

    title: str
    plane: Plane
    prediction: NDArray[np.uint8]
    outline: NDArray[np.uint8]


def montage_row(
    title: str, scan: Drawable, prediction: Drawable, reference: Drawable, height: int | None
) -> MontageRow:
    """Read one axial plane of three images on one grid.

    Args:
        title: Above the row.
        scan: The first channel is shown.
        prediction: Drawn over it.
        reference: Only its outline is drawn.
        height: Voxel from inferior to superior; None for the middle.

    Raises:
        MemoryBudgetError: If a plane does not fit.
        VoxarrayError: What reading finds wrong.
    """
    point = [n // 2 for n in scan.grid.reorient("RAS").shape]
    if height is not None:
        point[2] = height
    (plane,) = planes(scan.source, View(indices=point, pixels=_PIXELS), (2,))
    truth = labels_at(plane, reference.source, as_channels(-1, reference.num_channels))
    return MontageRow(title, plane, painted(plane, prediction, _OPACITY), _outline(truth))


def save_montage(
    rows: Sequence[MontageRow], path: str | os.PathLike[str], left_out: int = 0
) -> None:
    """Draw the rows into one file; the patient's right is on the left.

    Args:
        rows: At least one.
        path: The picture, of a type that matplotlib writes.
        left_out: Subjects that are not shown, which the picture says.

    Raises:
        MissingPackageError: If matplotlib is not installed.
    """
    heights = [_INCHES * row.plane.height / row.plane.width + 0.4 for row in rows]
    picture = figure((2 * _INCHES, sum(heights) + 0.4))
    axes: Any = picture.subplots(len(rows), 2, squeeze=False, height_ratios=heights)
    for (plain, over), row in zip(axes, rows, strict=True):
        draw([row.plane, row.plane], [plain, over], Style(), xlabels=False)
        for layer in (row.prediction, row.outline):
            over.imshow(
                layer,
                extent=row.plane.extent,
                aspect=plain.get_aspect(),
                interpolation="none",
            )
        plain.set_title("")
        plain.set_title(row.title, loc="left")
        over.set_title("")
        for axis in (plain, over):
            axis.set(xticks=[], yticks=[], ylabel="")
    note = "prediction in colour, outline of the reference in white"
    if left_out:
        note += f"\nthe first {len(rows)} of {len(rows) + left_out} subjects"
    picture.suptitle(note, fontsize="medium")
    save_figure(picture, path)


def _outline(labels: NDArray) -> NDArray[np.uint8]:
    """Pixels of labels beside a pixel of another value."""
    around = np.pad(labels, 1, mode="edge")
    beside = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    edge = (labels != 0) & np.any([neighbour != labels for neighbour in beside], axis=0)
    return np.where(edge[..., None], np.array(_LINE, np.uint8), np.uint8(0))
