"""How large the voxels of a TIFF are, which different programs write in different places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from voxarray.formats.tiff.ome_xml import OmeSizes, OmeXml
from voxarray.geometry.units import length_in_mm

_X_RESOLUTION, _Y_RESOLUTION, _UNIT = 282, 283, 296

_MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}
"""Per unit of resolution: inch and centimetre; millimetre and micrometre in newer files."""

_ELSEWHERE = {
    "bif", "eer", "fei", "fluoview", "geotiff", "indica", "lsm", "mdgel", "metaseries",
    "micromanager", "ndpi", "nih", "ome", "philips", "pilatus", "qpi", "scanimage", "scn", "sem",
    "sis", "stk", "svs", "tvips",
}  # fmt: skip
"""Kinds of TIFF, as tifffile names them, that may state sizes where nobody looks here."""

Spacing = tuple[float | None, float | None, float | None]

_NOTHING: Spacing = (None, None, None)


@dataclass(frozen=True, slots=True)
class TiffSize:
    """What a file says of its voxels.

    Attributes:
        spacing: Millimetres along X, Y and Z; None where nothing usable is said.
        step: Seconds between volumes; 0 if unknown.
        remarks: What is odd.
    """

    spacing: Spacing
    step: float = 0.0
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(cls, file: Any, ome: OmeXml | None) -> TiffSize:
        """Of an opened `tifffile.TiffFile` with one series."""
        series = file.series[0]
        by_tags = _by_tags(series.keyframe)
        if ome is not None:
            shape = dict(zip(series.axes, series.shape, strict=True))
            axes = {axis: int(n) for axis, n in shape.items() if axis in "XYZT"}
            ome_sizes = OmeSizes.of(ome.pixels(series.name, axes))
            stated = cls(ome_sizes.spacing, ome_sizes.step, ome_sizes.remarks)
        elif file.is_imagej:
            stated = _by_imagej(file.imagej_metadata or {}, series.keyframe)
        else:
            stated = cls((None, None, _by_shaped(file)))
        return cls(
            _first(stated.spacing, by_tags),
            stated.step,
            (*stated.remarks, *_remarks(file, stated.spacing, by_tags)),
        )


def _first(*statements: Spacing) -> Spacing:
    x, y, z = (next((mm for mm in each if mm is not None), None) for each in zip(*statements))  # noqa: B905
    return x, y, z


def _by_tags(page: Any) -> Spacing:
    unit = _MILLIMETRES.get(int(page.tags.valueof(_UNIT, 1) or 1))
    x, y = (_per_pixel(page.tags.valueof(tag)) for tag in (_X_RESOLUTION, _Y_RESOLUTION))
    return (
        None if unit is None or x is None else unit * x,
        None if unit is None or y is None else unit * y,
        None,
    )


def _by_imagej(metadata: dict[str, Any], page: Any) -> TiffSize:
    """ImageJ counts pixels per its own unit, which the tag cannot name, and slices in it."""
    factor = length_in_mm(_unescaped(metadata.get("unit")))
    x, y = (_per_pixel(page.tags.valueof(tag)) for tag in (_X_RESOLUTION, _Y_RESOLUTION))
    by_tag = _MILLIMETRES.get(int(page.tags.valueof(_UNIT, 1) or 1))
    z = _positive(metadata.get("spacing"))
    in_plane = by_tag if factor is None else factor
    step = _positive(metadata.get("finterval")) or 0.0
    if in_plane is None:
        return TiffSize(_NOTHING, step)
    return TiffSize(
        (
            None if x is None else in_plane * x,
            None if y is None else in_plane * y,
            None if z is None else in_plane * z,
        ),
        step,
    )


def _by_shaped(file: Any) -> float | None:
    """Distance of slices that `tifffile` writes, and voxarray through it, beside the shape."""
    metadata: dict[str, Any] = (file.shaped_metadata or ({},))[0] if file.is_shaped else {}
    factor, z = length_in_mm(metadata.get("unit")), _positive(metadata.get("spacing"))
    return None if factor is None or z is None else factor * z


def _remarks(file: Any, stated: Spacing, by_tags: Spacing) -> list[str]:
    remarks = []
    page, spacing = file.series[0].keyframe, _first(stated, by_tags)
    kinds = sorted(file.flags & _ELSEWHERE)
    if kinds and None in spacing[:2]:
        remarks.append(
            f"SPACING_NOT_READ: voxarray found no pixel size; this kind of TIFF "
            f"({', '.join(kinds)}) may store it in metadata that voxarray does not read; taken as "
            "1 mm"
        )
    elif None in spacing[:2]:
        x, y = (_per_pixel(page.tags.valueof(tag)) for tag in (_X_RESOLUTION, _Y_RESOLUTION))
        if x is not None and y is not None and (x, y) != (1, 1):
            remarks.append(
                f"NO_UNIT: pixels are {x:g} x {y:g} in a unit that is not given; taken as 1 x 1 "
                "mm, as ITK does"
            )
    return remarks


def _per_pixel(resolution: Any) -> float | None:
    """Units of resolution per pixel; None where nothing usable is said."""
    if resolution is None:
        return None
    pixels, units = resolution
    return units / pixels if pixels and units else None


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < float("inf") else None


def _unescaped(unit: Any) -> Any:
    """A unit without the escapes by which ImageJ, as Java does, writes what is not ASCII."""
    if not isinstance(unit, str) or "\\u" not in unit:
        return unit
    try:
        return unit.encode("ascii").decode("unicode_escape")
    except UnicodeError:
        return unit
