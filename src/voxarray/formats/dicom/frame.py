"""One plane of a file, with all that is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from voxarray.core.scaling import Scaling
from voxarray.formats.dicom.image_plane import Vector

CINE = "frame_time"
"""Kind of separator for the frames of a film, which have a time and no position."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One plane.

    Attributes:
        file: Number of its header.
        index: Number of the frame in its file.
        position: Centre of the first pixel, LPS mm; None if it is not said.
        orientation: Unit vectors, LPS: along which columns follow one another, then rows.
        spacing: Millimetres between rows, then between columns.
        slice_spacing: Millimetres to the next slice, as the header states them: what a single plane
            stands for.
        scaling: How stored numbers become intensities; None if they are intensities.
        separators: What may tell apart planes at one position, and what says when they were made.
        facts: What ``image[...]`` may say.
        order: When it was made, as far as numbers tell: Instance Number, frame.
        is_localizer: Whether it is a scout, not part of a volume.
        has_rescale: Whether it states a slope or an intercept.
        axes: What its place is in: ``"patient"``, ``"transducer"`` or ``"slide"``.
        remarks: What whoever opens it should know.
    """

    file: int
    index: int
    position: Vector | None
    orientation: Vector | None
    spacing: Vector | None
    slice_spacing: float | None
    scaling: Scaling | None
    separators: dict[str, Any]
    facts: dict[str, Any]
    order: tuple[int, int]
    is_localizer: bool
    has_rescale: bool = False
    axes: str = "patient"
    remarks: tuple[str, ...] = ()
