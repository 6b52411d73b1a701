"""Planes: what each frame of each file shows, where, and how its numbers are scaled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from voxarray.core.errors import FormatError, UnsupportedError
from voxarray.core.scaling import Scaling
from voxarray.formats.dicom import tags
from voxarray.formats.dicom.acquisition import facts_of
from voxarray.formats.dicom.elements import Elements
from voxarray.formats.dicom.functional_groups import Groups
from voxarray.formats.dicom.header import Header
from voxarray.formats.dicom.mosaic import Mosaic

Vector = tuple[float, ...]

_FARTHEST = 1e7
"""Millimetres; nothing that is scanned is ten kilometres away."""

_LARGEST_SCALE = 1e25
"""Times any integer, it still fits into float32."""

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
        thickness: Millimetres that a single plane stands for.
        scaling: How stored numbers become intensities; None if they are intensities.
        separators: What may tell apart planes at one position, and what says when they were made.
        facts: What ``image[...]`` may say.
        order: When it was made, as far as numbers tell: Instance Number, frame.
        is_localizer: Whether it is a scout, not part of a volume.
    """

    file: int
    index: int
    position: Vector | None
    orientation: Vector | None
    spacing: Vector | None
    thickness: float | None
    scaling: Scaling | None
    separators: dict[str, Any]
    facts: dict[str, Any]
    order: tuple[int, int]
    is_localizer: bool


def frames_of(header: Header, file: int) -> Iterator[Frame]:
    """The planes of a file; none if it has no pixels.

    Args:
        header: Of the file.
        file: Its number.

    Raises:
        FormatError: For values that make no sense, and frames without a place (``NO_POSITION``).
        UnsupportedError: For a mosaic that does not say enough (``MOSAIC``), or a table of
            intensities (``MODALITY_LUT``).
    """
    elements, layout = header.elements, header.layout
    if layout is None:
        return
    _refuse_what_is_no_plane(elements)
    shared = elements.item(tags.SHARED_GROUPS)
    own = elements.items(tags.FRAME_GROUPS)
    if own and len(own) != layout.frames:
        raise FormatError(
            f"{layout.frames} frames are described by {len(own)} groups: expected one each",
            code="BAD_FRAMES",
        )
    nothing = Elements(elements.little)
    if isinstance(header.mosaic, UnsupportedError):
        raise header.mosaic
    if header.mosaic is not None:
        yield from _tiles(header.mosaic, _frame(_plain(elements), file, 0, header.number))
        return
    for index in range(layout.frames):
        groups = Groups(own[index] if own else nothing, shared, elements)
        frame = _frame(groups, file, index, header.number)
        yield frame if own or layout.frames == 1 else _of_film(frame, elements, layout.frames)


def _frame(groups: Groups, file: int, index: int, number: int) -> Frame:
    facts = facts_of(groups)
    return Frame(
        file,
        index,
        position=_vector(groups.numbers(tags.POSITION, tags.POSITION_SEQUENCE), 3),
        orientation=_vector(groups.numbers(tags.ORIENTATION, tags.ORIENTATION_SEQUENCE), 6),
        spacing=_spacing(groups),
        thickness=_thickness(groups),
        scaling=_scaling(groups),
        separators=_separators(groups, facts),
        facts=facts,
        order=(number, index),
        is_localizer="LOCALIZER" in groups.texts(tags.IMAGE_TYPE),
    )


def _plain(elements: Elements) -> Groups:
    """A file without functional groups."""
    nothing = Elements(elements.little)
    return Groups(nothing, nothing, elements)


def _tiles(mosaic: Mosaic, plane: Frame) -> Iterator[Frame]:
    """The slices of a mosaic, from what is said of its plane."""
    position, orientation, spacing = plane.position, plane.orientation, plane.spacing
    if position is None or orientation is None or spacing is None:
        raise FormatError(
            "the mosaic does not say where it is (Image Position, Image Orientation, Pixel "
            "Spacing): export it again with these elements",
            code="NO_POSITION",
        )
    for index in range(mosaic.slices):
        yield replace(
            plane,
            index=index,
            position=mosaic.position(position, orientation, spacing, index),
            order=(plane.order[0], index),
        )


def _thickness(groups: Groups) -> float | None:
    for tag in (tags.SPACING_BETWEEN_SLICES, tags.SLICE_THICKNESS):
        found = _vector(groups.numbers(tag, tags.MEASURES_SEQUENCE)[:1], 1)
        if found is not None and found[0] != 0:
            return abs(found[0])  # nuclear medicine counts slices downwards
    return None


def _spacing(groups: Groups) -> Vector | None:
    # Only without a patient's frame is the spacing at the detector the best there is.
    found = groups.numbers(tags.PIXEL_SPACING, tags.MEASURES_SEQUENCE)
    if not found and not groups.numbers(tags.POSITION, tags.POSITION_SEQUENCE):
        found = groups.numbers(tags.IMAGER_PIXEL_SPACING)
    spacing = _vector(found, 2)
    if spacing is not None and min(spacing) <= 0:
        raise FormatError(
            f"a pixel spacing of {spacing} mm: expected two positive numbers", code="BAD_SPACING"
        )
    return spacing


def _scaling(groups: Groups) -> Scaling | None:
    slope = groups.number(tags.SLOPE, tags.TRANSFORMATION_SEQUENCE)
    if slope is None:
        slope = groups.whole.number(tags.DOSE_SCALING)
    intercept = groups.number(tags.INTERCEPT, tags.TRANSFORMATION_SEQUENCE) or 0.0
    if slope == 0 or max(abs(slope or 0), abs(intercept)) > _LARGEST_SCALE:
        raise FormatError(
            f"a rescale slope of {slope} and an intercept of {intercept} leave no image",
            code="BAD_SCALE",
        )
    scaling = Scaling(1.0 if slope is None else slope, intercept)
    return None if scaling == Scaling(1.0, 0.0) else scaling


def _separators(groups: Groups, facts: dict[str, Any]) -> dict[str, Any]:
    content = tags.FRAME_CONTENT_SEQUENCE
    frame_type = groups.texts(tags.FRAME_TYPE, *tags.FRAME_TYPE_SEQUENCES)
    found = {
        "frame_type": frame_type or groups.whole.texts(tags.IMAGE_TYPE),
        "stack": groups.text(tags.STACK_ID, content),
        "temporal_position": groups.number(tags.TEMPORAL_POSITION),
        "temporal_index": groups.number(tags.TEMPORAL_INDEX, content),
        "temporal_offset": groups.number(tags.TEMPORAL_OFFSET, tags.TEMPORAL_SEQUENCE),
        "trigger_time": groups.number(tags.TRIGGER_TIME),
        "frame_reference_time": groups.number(tags.FRAME_REFERENCE_TIME),
        "acquisition_number": groups.number(tags.ACQUISITION_NUMBER),
        "acquisition_time": _seconds(groups.text(tags.ACQUISITION_TIME)),
        "temporal_resolution": groups.number(tags.TEMPORAL_RESOLUTION),
        "is_planar_epi": _is_planar_epi(groups.whole),
    }
    for key in ("segment", "echo_time", "inversion_time", "flip_angle", "b_value"):
        found[key] = facts.get(key)
    found["gradient_direction"] = facts.get("gradient_direction")
    for number, value in enumerate(groups.numbers(tags.DIMENSION_INDICES, content)):
        found[f"dimension_{number}"] = value
    return found


def _is_planar_epi(elements: Elements) -> bool:
    echo_planar = "EP" in elements.texts(tags.SCANNING_SEQUENCE)
    return elements.text(tags.MR_ACQUISITION_TYPE) == "2D" and (
        echo_planar or elements.text(tags.ECHO_PLANAR) == "YES"
    )


def _seconds(time: str) -> float | None:
    """Seconds since midnight of HHMMSS.FFFFFF."""
    try:
        hours, minutes, seconds = int(time[:2]), int(time[2:4] or 0), float(time[4:] or 0)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds


def _of_film(frame: Frame, elements: Elements, count: int) -> Frame:
    """A frame of a multi-frame file without functional groups: a plane of a dose grid or a film."""
    offsets = elements.numbers(tags.GRID_OFFSETS)
    if frame.position is not None and frame.orientation is not None:
        # PS3.3, C.8.8.3.2: relative to the first plane if the first offset is 0.
        if len(offsets) == count and offsets[0] == 0:
            return replace(frame, position=_shifted(frame, offsets[frame.index]))
    elif frame.position is None:
        vector = elements.numbers(tags.FRAME_TIME_VECTOR)
        step = elements.number(tags.FRAME_TIME)
        if step or len(vector) == count:
            time = sum(vector[: frame.index + 1]) if vector else (step or 0) * frame.index
            return replace(frame, separators={CINE: time}, orientation=None)
    raise FormatError(
        f"the file holds {count} frames and does not say where or when each of them was taken: "
        "expected functional groups, a grid of offsets from 0, or the time between frames",
        code="NO_POSITION",
    )


def _shifted(frame: Frame, offset: float) -> Vector:
    rx, ry, rz, cx, cy, cz = frame.orientation or ()
    normal = (ry * cz - rz * cy, rz * cx - rx * cz, rx * cy - ry * cx)
    return tuple(p + offset * n for p, n in zip(frame.position or (), normal, strict=True))


def _vector(numbers: Vector, length: int) -> Vector | None:
    if not numbers:
        return None
    if len(numbers) != length:
        raise FormatError(
            f"a position, orientation or spacing of {len(numbers)} numbers, expected {length}",
            code="BAD_NUMBER",
        )
    if max(map(abs, numbers)) > _FARTHEST:
        raise FormatError(
            f"a position or spacing of more than {_FARTHEST:g} mm: the header is damaged",
            code="BAD_NUMBER",
        )
    # Orientations are unit vectors, written with few decimals by some scanners.
    if length == 6:
        return (*_unit(numbers[:3]), *_unit(numbers[3:]))
    return numbers


def _unit(vector: Vector) -> Vector:
    length = math.hypot(*vector)
    if abs(length - 1) > 1e-2:
        raise FormatError(
            f"a direction of length {length:g} in the image orientation, expected a unit vector",
            code="BAD_ORIENTATION",
        )
    return tuple(part / length for part in vector)


def _refuse_what_is_no_plane(elements: Elements) -> None:
    if elements.items(tags.MODALITY_LUT):
        raise UnsupportedError(
            "intensities are given by a table (Modality LUT Sequence), not by slope and intercept: "
            "apply it first (pydicom.pixels.apply_modality_lut does)",
            code="MODALITY_LUT",
        )
