"""Frames of files without functional groups: dose grids, films, and what nuclear medicine counts.

Such a file places its first frame at most. Where the others are, or when they were made, stands in
vectors with one number per frame, to which Frame Increment Pointer leads (PS3.3, C.7.6.6).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from voxarray.core.errors import FormatError
from voxarray.formats.dicom import tags
from voxarray.formats.dicom.elements import Elements
from voxarray.formats.dicom.frame import CINE, Frame
from voxarray.formats.dicom.functional_groups import Groups
from voxarray.formats.dicom.image_plane import Vector, place_of

_TIMES = {tags.FRAME_TIME, tags.FRAME_TIME_VECTOR}
_NUCLEAR = {*tags.NUCLEAR_VECTORS.values(), tags.SLICE_VECTOR}


def of_many(frame: Frame, groups: Groups, count: int) -> Frame:
    """A frame with the place and the time that it has among the others of its file.

    Args:
        frame: With the place of the first one.
        groups: What is said of the file.
        count: Frames in it.

    Raises:
        FormatError: If it says neither where nor when each was taken (``NO_POSITION``).
    """
    elements = groups.dataset
    pointers = set(elements.tags(tags.FRAME_POINTER))
    offsets = elements.numbers(tags.GRID_OFFSETS)
    is_placed = frame.position is not None and frame.orientation is not None
    if pointers & _NUCLEAR:
        return _nuclear(frame, groups, count, pointers)
    if len(offsets) == count and is_placed:
        return replace(frame, position=_of_dose(frame, offsets))
    is_film = pointers <= _TIMES if pointers else True
    time = _time(elements, frame.index, count) if is_film else None
    if time is not None:
        return replace(frame, separators={CINE: time})
    step = elements.number(tags.SPACING_BETWEEN_SLICES)
    if is_placed and step is not None and step > 0 and not pointers:
        remark = (
            f"the file says where the first of {count} frames is: the others are taken to follow "
            f"it along their normal, {step:g} mm apart (Spacing Between Slices)"
        )
        position = _shifted(frame, step * frame.index)
        return replace(frame, position=position, remarks=(*frame.remarks, remark))
    by = ", ".join(map(tags.name, sorted(pointers)))
    raise FormatError(
        f"the file holds {count} frames{f' (Frame Increment Pointer: {by})' * bool(by)} and does "
        "not say where or when each of them was taken: expected functional groups, a Grid Frame "
        "Offset Vector, a position with the spacing between slices, or the time between frames; "
        "export it again with one of these",
        code="NO_POSITION",
    )


def _of_dose(frame: Frame, offsets: Vector) -> Vector:
    """PS3.3, C.8.8.3.2: offsets are relative if the first is 0, else heights in the patient."""
    if offsets[0] == 0:
        return _shifted(frame, offsets[frame.index])
    x, y, z = frame.position or ()
    axial = (frame.orientation or (0,) * 6)[2::3] == (0, 0)
    if axial and abs(offsets[0] - z) < 1e-3:
        return x, y, offsets[frame.index]
    raise FormatError(
        f"the Grid Frame Offset Vector begins at {offsets[0]:g} mm, so it does not say where the "
        f"frames are: expected 0 or, for axial frames, the height of the first frame ({z:g} mm); "
        "repair the header, or export the file again",
        code="NO_POSITION",
    )


def _time(elements: Elements, index: int, count: int) -> float | None:
    """Milliseconds since the first frame; None if they are not said."""
    steps = elements.numbers(tags.FRAME_TIME_VECTOR)
    if len(steps) == count:
        return sum(steps[: index + 1])
    step = elements.number(tags.FRAME_TIME)
    return step * index if step else None


def _nuclear(frame: Frame, groups: Groups, count: int, pointers: set[int]) -> Frame:
    """PS3.3, C.8.4.8: vectors say for each frame which slice, detector, time, ... it is of."""
    vectors = {tag: groups.dataset.numbers(tag) for tag in pointers}
    short = [tag for tag, values in vectors.items() if len(values) != count]
    if short or pointers - _NUCLEAR:
        odd = ", ".join(map(tags.name, sorted({*short, *(pointers - _NUCLEAR)})))
        raise FormatError(
            f"the Frame Increment Pointer names {odd}, which should hold one number for each of "
            f"the {count} frames and does not: export the file again",
            code="NO_POSITION",
        )
    at: dict[str, Any] = {
        key: vectors[tag][frame.index]
        for key, tag in tags.NUCLEAR_VECTORS.items()
        if tag in vectors
    }
    placement = place_of(groups, detector=int(at.get("detector", 1)) - 1)
    frame = replace(
        frame,
        position=placement.position,
        orientation=placement.orientation,
        separators=frame.separators | at,
    )
    if tags.SLICE_VECTOR not in vectors:
        return frame
    step = groups.dataset.number(tags.SPACING_BETWEEN_SLICES)
    if placement.position is None or placement.orientation is None or not step:
        raise FormatError(
            f"the file counts {int(max(vectors[tags.SLICE_VECTOR]))} slices and does not say "
            "where they are: expected Image Position and Orientation of the detector, and "
            "Spacing Between Slices; export it again with these elements",
            code="NO_POSITION",
        )
    # The sign says whether slices follow the normal, or go against it (C.8.4.15).
    number = vectors[tags.SLICE_VECTOR][frame.index] - 1
    return replace(frame, position=_shifted(frame, number * step))


def _shifted(frame: Frame, offset: float) -> Vector:
    rx, ry, rz, cx, cy, cz = frame.orientation or ()
    normal = (ry * cz - rz * cy, rz * cx - rx * cz, rx * cy - ry * cx)
    return tuple(p + offset * n for p, n in zip(frame.position or (), normal, strict=True))
