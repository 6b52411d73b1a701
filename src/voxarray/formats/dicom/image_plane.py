"""Where a plane says that it is, how large its pixels are, and how far the next slice is.

A place takes two statements, a position and an orientation, from the same module. One without the
other is half a place: it is kept as such, and refused when planes are stacked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from voxarray.core.errors import FormatError
from voxarray.formats.dicom import tags
from voxarray.formats.dicom.elements import Elements
from voxarray.formats.dicom.functional_groups import Groups

Vector = tuple[float, ...]

_FARTHEST = 1e7
"""Millimetres; nothing that is scanned is ten kilometres away."""

_CENTIMETRES = 3
"""Code of a unit of ultrasound regions (PS3.3, C.8.5.5.1.15)."""

_TISSUE = 1
"""Spatial format of an ultrasound region that shows two dimensions (PS3.3, C.8.5.5.1.1)."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a plane is.

    Attributes:
        position: Centre of the first pixel, mm; None if it is not said.
        orientation: Unit vectors along which columns follow one another, then rows.
        frame: What the axes are those of: ``"patient"`` (LPS), ``"transducer"`` or ``"slide"``.
    """

    position: Vector | None
    orientation: Vector | None
    frame: str = "patient"

    @property
    def is_stated(self) -> bool:
        """Whether there is any statement, be it half of one."""
        return self.position is not None or self.orientation is not None


def place_of(groups: Groups, detector: int = 0) -> Place:
    """Where a plane is: in the patient, else before a transducer or on a slide.

    Args:
        groups: What is said of the plane.
        detector: Number of its detector, for nuclear medicine, which places detectors.
    """
    plane = Place(
        vector(groups.numbers(tags.POSITION, tags.POSITION_SEQUENCE), 3),
        vector(groups.numbers(tags.ORIENTATION, tags.ORIENTATION_SEQUENCE), 6),
    )
    if plane.is_stated:
        return plane
    alternatives = (
        _at_detector(groups.dataset, detector),
        _before_transducer(groups),
        _on_slide(groups),
    )
    return next((other for other in alternatives if other.is_stated), plane)


def _at_detector(dataset: Elements, detector: int) -> Place:
    """PS3.3, C.8.4.11: of reconstructed slices, where the first of them is."""
    detectors = dataset.items(tags.DETECTOR_SEQUENCE)
    if not 0 <= detector < len(detectors):
        return Place(None, None)
    item = detectors[detector]
    return Place(vector(item.numbers(tags.POSITION), 3), vector(item.numbers(tags.ORIENTATION), 6))


def _before_transducer(groups: Groups) -> Place:
    """PS3.3, C.7.6.16.2.21 and 22: planes of an ultrasound volume."""
    return Place(
        vector(groups.numbers(tags.VOLUME_POSITION, tags.VOLUME_POSITION_SEQUENCE), 3),
        vector(groups.numbers(tags.VOLUME_ORIENTATION, tags.VOLUME_ORIENTATION_SEQUENCE), 6),
        "transducer",
    )


def _on_slide(groups: Groups) -> Place:
    """PS3.3, C.8.12.6.1 and C.8.12.4: of a frame, else of the plane that it fills."""
    x, y, z = tags.SLIDE_OFFSETS
    item = groups.holder(x, tags.SLIDE_POSITION_SEQUENCE)
    if x not in item:
        item = groups.dataset.item(tags.SLIDE_ORIGIN_SEQUENCE)
    offsets = (*item.numbers(x)[:1], *item.numbers(y)[:1])
    if offsets:
        offsets = (*offsets, (item.number(z) or 0.0) * 1e-3)  # the only one that is in micrometres
    orientation = vector(groups.dataset.numbers(tags.SLIDE_ORIENTATION), 6)
    return Place(vector(offsets, 3), orientation, "slide")


def spacing_of(groups: Groups, *, is_placed: bool) -> tuple[Vector | None, str]:
    """Millimetres between rows, then between columns, and what is to be remarked of them.

    Only without a place is the spacing at the detector, the film or the scanner's glass the best
    that there is; the order is that of how near to the patient each is measured.

    Args:
        groups: What is said of the plane.
        is_placed: Whether it says where it is.

    Raises:
        FormatError: ``BAD_SPACING``, ``BAD_NUMBER``.
    """
    stated = groups.numbers(tags.PIXEL_SPACING, tags.MEASURES_SEQUENCE)
    remark = ""
    if not stated and not is_placed:
        stated, remark = _spacing_of_picture(groups)
    spacing = vector(stated, 2)
    if spacing is not None and min(spacing) <= 0:
        raise FormatError(
            f"the pixel spacing is {spacing} mm: expected two positive numbers; repair the header",
            code="BAD_SPACING",
        )
    return spacing, remark


def _spacing_of_picture(groups: Groups) -> tuple[Vector, str]:
    stated = (
        groups.numbers(tags.OBJECT_PIXEL_SPACING, tags.CALIBRATION_SEQUENCE)
        or groups.numbers(tags.IMAGER_PIXEL_SPACING)
        or groups.dataset.numbers(tags.IMAGE_PLANE_PIXEL_SPACING)
        or groups.dataset.numbers(tags.NOMINAL_PIXEL_SPACING)
    )
    regions = groups.dataset.items(tags.ULTRASOUND_REGIONS)
    if not stated and regions:
        return _spacing_of_regions(regions)
    if not stated:
        ratio = groups.dataset.numbers(tags.PIXEL_ASPECT_RATIO)
        if len(ratio) == 2 and min(ratio) > 0:
            stated = (ratio[0] / ratio[1], 1.0)  # vertical to horizontal; the size is not said
    return stated, ""


def _spacing_of_regions(regions: list[Elements]) -> tuple[Vector, str]:
    """That of the regions that show tissue, if they agree on it."""
    spacings = {
        tuple(abs(region.number(tag) or 0.0) * 10 for tag in reversed(tags.REGION_DELTAS))
        for region in regions
        if region.number(tags.REGION_FORMAT) == _TISSUE
        and all(region.number(tag) == _CENTIMETRES for tag in tags.REGION_UNITS)
    }
    if len(spacings) == 1:
        return spacings.pop(), ""
    if not spacings:
        return (), (
            "no ultrasound region states the size of its pixels in cm: they are taken to be 1 mm "
            "wide"
        )
    listed = ", ".join(f"{x:.4g} x {y:.4g}" for y, x in sorted(spacings))
    return (), f"ultrasound regions have pixels of {listed} mm: all are taken to be 1 mm wide"


def stated_slice_spacing(groups: Groups) -> float | None:
    """Millimetres from one slice to the next as the header states them; None if it does not.

    Where several planes have positions, these count instead (`geometry.stack`): this is for single
    slices, for planes without a position, and for segmentations that leave planes out.
    """
    for tag in (tags.SPACING_BETWEEN_SLICES, tags.SLICE_THICKNESS):
        stated = vector(groups.numbers(tag, tags.MEASURES_SEQUENCE)[:1], 1)
        if stated is not None and stated[0] != 0:
            return abs(stated[0])  # nuclear medicine counts slices downwards
    return None


def vector(numbers: Vector, length: int) -> Vector | None:
    """Numbers of a position, orientation (of unit length) or spacing; None if there are none.

    Raises:
        FormatError: ``BAD_NUMBER``, ``BAD_ORIENTATION``.
    """
    if not numbers:
        return None
    if len(numbers) != length:
        raise FormatError(
            f"a position, orientation or spacing has {len(numbers)} numbers, expected {length}: "
            "repair the header",
            code="BAD_NUMBER",
        )
    if max(map(abs, numbers)) > _FARTHEST:
        raise FormatError(
            f"a position or spacing is larger than {_FARTHEST:g} mm: the header is damaged, "
            "export the file again",
            code="BAD_NUMBER",
        )
    # Orientations are unit vectors, written with few decimals by some scanners.
    if length == 6:
        return (*_unit(numbers[:3]), *_unit(numbers[3:]))
    return numbers


def _unit(numbers: Vector) -> Vector:
    length = math.hypot(*numbers)
    if abs(length - 1) > 1e-2:
        raise FormatError(
            f"a direction in the image orientation has length {length:g}: expected 1; repair the "
            "header",
            code="BAD_ORIENTATION",
        )
    return tuple(part / length for part in numbers)
