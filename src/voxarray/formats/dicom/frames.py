"""Planes: what each frame of each file shows, where, and how its numbers are scaled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any

from voxarray.core.errors import FormatError, UnsupportedError
from voxarray.core.scaling import Scaling
from voxarray.formats.dicom import tags
from voxarray.formats.dicom.acquisition import facts_of
from voxarray.formats.dicom.elements import Elements
from voxarray.formats.dicom.frame import Frame
from voxarray.formats.dicom.functional_groups import Groups
from voxarray.formats.dicom.header import Header
from voxarray.formats.dicom.image_plane import place_of, spacing_of, stated_slice_spacing
from voxarray.formats.dicom.mosaic import Mosaic, looks_like_one
from voxarray.formats.dicom.multiframe import of_many
from voxarray.formats.dicom.pixel_layout import PixelLayout
from voxarray.formats.dicom.tile_grid import TileGrid

_LARGEST_SCALE = 1e25
"""Times any integer, it still fits into float32."""

_PHILIPS = "Philips Imaging DD 001"
_PHILIPS_LABEL = "Philips MR Imaging DD 005"

_MAY_BE_MOSAIC = (
    "the plane has many times as many rows and columns as its Acquisition Matrix, as mosaics of "
    "slices have, but no element says that it is a mosaic: it is taken as one slice"
)


def frames_of(header: Header, file: int) -> Iterator[Frame]:
    """The planes of a file; none if it has no pixels.

    Args:
        header: Of the file.
        file: Its number.

    Raises:
        FormatError: For values that make no sense, and frames without a place (``NO_POSITION``).
        UnsupportedError: For a mosaic that does not say enough (``MOSAIC``), tiles of a larger
            plane (``TILED``), or a table of intensities (``MODALITY_LUT``).
    """
    elements, layout = header.elements, header.layout
    if layout is None:
        return
    _refuse_what_is_no_plane(elements, layout)
    shared = elements.item(tags.SHARED_GROUPS)
    per_frame = elements.items(tags.FRAME_GROUPS)
    if per_frame and len(per_frame) != layout.frames:
        raise FormatError(
            f"{layout.frames} frames are described by {len(per_frame)} functional groups: expected "
            "one group for each frame; export the file again",
            code="BAD_FRAMES",
        )
    nothing = Elements(elements.little)
    if isinstance(header.mosaic, UnsupportedError):
        raise header.mosaic
    if isinstance(header.mosaic, TileGrid):
        yield from _placed_tiles(header.mosaic, _frame(_plain(elements), file, 0, header.number))
        return
    if header.mosaic is not None:
        yield from _tiles(header.mosaic, _frame(_plain(elements), file, 0, header.number))
        return
    for index in range(layout.frames):
        groups = Groups(per_frame[index] if per_frame else nothing, shared, elements)
        frame = _frame(groups, file, index, header.number)
        if looks_like_one(elements, layout):
            frame = replace(frame, remarks=(*frame.remarks, _MAY_BE_MOSAIC))
        yield frame if per_frame or layout.frames == 1 else of_many(frame, groups, layout.frames)


def _frame(groups: Groups, file: int, index: int, number: int) -> Frame:
    facts = facts_of(groups)
    placement = place_of(groups)
    spacing, remark = spacing_of(groups, is_placed=placement.position is not None)
    return Frame(
        file,
        index,
        position=placement.position,
        orientation=placement.orientation,
        spacing=spacing,
        slice_spacing=stated_slice_spacing(groups),
        scaling=_scaling(groups),
        separators=_separators(groups, facts),
        facts=facts,
        order=(number, index),
        is_localizer="LOCALIZER" in groups.texts(tags.IMAGE_TYPE),
        has_rescale=any(
            groups.number(tag, tags.TRANSFORMATION_SEQUENCE) is not None
            for tag in (tags.SLOPE, tags.INTERCEPT)
        ),
        axes=placement.frame,
        remarks=tuple(filter(None, (remark, _remark_on_fractions(groups.dataset)))),
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


def _placed_tiles(grid: TileGrid, plane: Frame) -> Iterator[Frame]:
    for index, position in enumerate(grid.positions):
        order = (plane.order[0], index)
        yield replace(plane, index=index, position=position, axes="patient", order=order)


def _scaling(groups: Groups) -> Scaling | None:
    slope = groups.number(tags.SLOPE, tags.TRANSFORMATION_SEQUENCE)
    if slope is None:
        slope = groups.dataset.number(tags.DOSE_SCALING)
    if slope is None and groups.dataset.text(tags.SEGMENTATION_TYPE) == "FRACTIONAL":
        largest = groups.dataset.number(tags.MAXIMUM_FRACTION)  # PS3.3, C.8.20.2.3
        slope = 1 / largest if largest else None
    intercept = groups.number(tags.INTERCEPT, tags.TRANSFORMATION_SEQUENCE) or 0.0
    if slope == 0 or max(abs(slope or 0), abs(intercept)) > _LARGEST_SCALE:
        raise FormatError(
            f"a rescale slope of {slope} and an intercept of {intercept} make no valid "
            "intensities: repair the header",
            code="BAD_SCALE",
        )
    scaling = Scaling(1.0 if slope is None else slope, intercept)
    return None if scaling == Scaling(1.0, 0.0) else scaling


def _remark_on_fractions(elements: Elements) -> str:
    if elements.text(tags.SEGMENTATION_TYPE) != "FRACTIONAL" or tags.MAXIMUM_FRACTION in elements:
        return ""
    return (
        "the segmentation is fractional and does not say which number stands for 1 (Maximum "
        "Fractional Value): numbers are left as they are stored"
    )


def _separators(groups: Groups, facts: dict[str, Any]) -> dict[str, Any]:
    content = tags.FRAME_CONTENT_SEQUENCE
    frame_type = groups.texts(tags.FRAME_TYPE, *tags.FRAME_TYPE_SEQUENCES)
    separators = {
        "frame_type": frame_type or groups.dataset.texts(tags.IMAGE_TYPE),
        "stack": groups.text(tags.STACK_ID, content),
        "temporal_position": groups.number(tags.TEMPORAL_POSITION),
        "temporal_index": groups.number(tags.TEMPORAL_INDEX, content),
        "temporal_offset": groups.number(tags.TEMPORAL_OFFSET, tags.TEMPORAL_SEQUENCE),
        "trigger_time": groups.number(tags.TRIGGER_TIME),
        "frame_reference_time": groups.number(tags.FRAME_REFERENCE_TIME),
        "acquisition_number": groups.number(tags.ACQUISITION_NUMBER),
        "acquisition_day": _day(groups.text(tags.ACQUISITION_DATE)),
        "acquisition_time": _seconds(groups.text(tags.ACQUISITION_TIME)),
        "temporal_resolution": groups.number(tags.TEMPORAL_RESOLUTION),
        "is_planar_epi": _is_planar_epi(groups.dataset),
        "label": _spin_label(groups),
        "phase_number": _philips_phase(groups),
    }
    for key in ("segment", "echo_time", "inversion_time", "flip_angle", "b_value"):
        separators[key] = facts.get(key)
    separators["gradient_direction"] = facts.get("gradient_direction")
    for number, value in enumerate(groups.numbers(tags.DIMENSION_INDICES, content)):
        separators[f"dimension_{number}"] = value
    return separators


def _spin_label(groups: Groups) -> str | None:
    """Whether arterial blood was labelled, as the standard or Philips writes it."""
    label = groups.text(tags.ASL_CONTEXT, tags.ASL_SEQUENCE)
    if not label and groups.text(tags.PHILIPS_LABEL_CREATOR) == _PHILIPS_LABEL:
        label = groups.text(tags.PHILIPS_LABEL)
    return label or None


def _philips_phase(groups: Groups) -> float | None:
    is_philips = groups.text(tags.PHILIPS_CREATOR) == _PHILIPS
    return groups.number(tags.PHILIPS_PHASE) if is_philips else None


def _is_planar_epi(elements: Elements) -> bool:
    echo_planar = "EP" in elements.texts(tags.SCANNING_SEQUENCE)
    return elements.text(tags.MR_ACQUISITION_TYPE) == "2D" and (
        echo_planar or elements.text(tags.ECHO_PLANAR) == "YES"
    )


def _day(text: str) -> int | None:
    """Number of the day of YYYYMMDD."""
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])).toordinal()
    except ValueError:
        return None


def _seconds(time: str) -> float | None:
    """Seconds since midnight of HHMMSS.FFFFFF."""
    try:
        hours, minutes, seconds = int(time[:2]), int(time[2:4] or 0), float(time[4:] or 0)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds


def _refuse_what_is_no_plane(elements: Elements, layout: PixelLayout) -> None:
    matrix = (elements.integer(tags.SLIDE_COLUMNS, 0), elements.integer(tags.SLIDE_ROWS, 0))
    if matrix[0] > layout.columns or matrix[1] > layout.rows:
        raise UnsupportedError(
            f"the frames of {layout.columns} x {layout.rows} pixels are tiles of a plane of "
            f"{matrix[0]} x {matrix[1]} (Total Pixel Matrix), and voxarray does not join such "
            "tiles: convert the file to OME-TIFF first, for instance with bioformats2raw or "
            "wsidicom",
            code="TILED",
        )
    if elements.items(tags.MODALITY_LUT):
        raise UnsupportedError(
            "intensities are given by a table (Modality LUT Sequence), not by slope and intercept: "
            "apply it first (pydicom.pixels.apply_modality_lut does)",
            code="MODALITY_LUT",
        )
