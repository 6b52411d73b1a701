"""Planes in the axes of a matplotlib figure: colours, proportions and the letters at the sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.label_colours import paint
from voxarray.rendering.intensity_window import FULL_RANGE, intensity_window, to_grey
from voxarray.rendering.overlays import painted
from voxarray.rendering.planes import Plane

if TYPE_CHECKING:
    from voxarray.source.drawable import Drawable

Colours = Mapping[float, tuple[int, int, int]]


@dataclass(frozen=True)
class Style:
    """How the voxels of planes become colours.

    Attributes:
        labels: Colours of labels, 0 to 255; those that are not named get one by their value. None
            for intensities.
        percentiles: Of the drawn intensities, which become the ends of the colour map.
        options: For ``Axes.imshow``: ``cmap``, ``vmin``, ``vmax``, ``interpolation``, ``alpha``...
    """

    labels: Colours | None = None
    percentiles: tuple[float, float] = FULL_RANGE
    options: Mapping[str, Any] = field(default_factory=dict)


def draw(planes: Sequence[Plane], axes: Sequence[Any], style: Style, *, xlabels: bool) -> None:
    """Draw one plane into each of the axes.

    Ticks are voxel indices; one index takes as many pixels as its spacing demands.

    Args:
        planes: What to draw.
        axes: As many of matplotlib's ``Axes``.
        style: What their voxels look like.
        xlabels: Whether to label the left and right sides.
    """
    for plane, axis, (pixels, options) in zip(planes, axes, _pixels(planes, style), strict=True):
        across, along = plane.spacing
        left, right, bottom, top = list(plane.sides)
        axis.imshow(pixels, extent=plane.extent, origin="upper", aspect=along / across, **options)
        axis.set_title(plane.name)
        axis.set_ylabel(f"{bottom} \N{LEFT RIGHT ARROW} {top}")
        if xlabels:
            axis.set_xlabel(f"{left} \N{LEFT RIGHT ARROW} {right}")


def draw_over(
    planes: Sequence[Plane], axes: Sequence[Any], labels: Iterable[Drawable], opacity: float
) -> None:
    """Draw label maps over planes that are drawn already, where they are in the patient."""
    for number, label_map in enumerate(labels):
        _draw_one_over(planes, axes, label_map, opacity, number)


def _draw_one_over(
    planes: Sequence[Plane], axes: Sequence[Any], labels: Drawable, opacity: float, number: int
) -> None:
    for plane, axis in zip(planes, axes, strict=True):
        pixels = painted(plane, labels, opacity, number)
        # Without an aspect, imshow would reset that of the plane below.
        aspect = plane.spacing[1] / plane.spacing[0]
        axis.imshow(
            pixels, extent=plane.extent, origin="upper", aspect=aspect, interpolation="none"
        )


def are_labels(planes: Sequence[Plane]) -> bool:
    """Whether the voxels are whole numbers: the maps of a tissue atlas hold probabilities."""
    return all(
        plane.pixels.dtype.kind in "biu" or bool(np.all(plane.pixels == np.round(plane.pixels)))
        for plane in planes
    )


def _pixels(planes: Sequence[Plane], style: Style) -> list[tuple[NDArray, dict[str, Any]]]:
    """Pixels of each plane, and how imshow is to show them."""
    arrays = [plane.pixels for plane in planes]
    if style.labels is not None:
        options = {**style.options, "interpolation": "none"}  # there is nothing between two labels
        return [(paint(array[..., 0], style.labels), options) for array in arrays]
    options = {"interpolation": "bicubic", **style.options}
    if arrays[0].shape[-1] == 3:
        return [(colours, options) for colours in _colours(arrays, style.percentiles)]
    real = [np.abs(a[..., 0]) if a.dtype.kind == "c" else a[..., 0] for a in arrays]
    if "norm" not in options:
        low, high = intensity_window(real, style.percentiles)
        options = {"vmin": low, "vmax": high, **options}
    return [(array, {"cmap": "gray", **options}) for array in real]


def _colours(arrays: Sequence[NDArray], percentiles: tuple[float, float]) -> list[NDArray]:
    """RGB pixels as bytes; other types are stretched from black to white, all planes alike."""
    if arrays[0].dtype == np.uint8:
        return list(arrays)
    low, high = intensity_window(arrays, percentiles)
    return [to_grey(array, low, high) for array in arrays]
