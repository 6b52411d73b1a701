"""`Image.plot`: which voxels of an image are drawn, where, and what becomes of the figure."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from voxarray.core.caller_warnings import warn_caller
from voxarray.core.keys import LABEL
from voxarray.geometry.selection import Shape3
from voxarray.rendering.drawing import Style, are_labels, draw, draw_over
from voxarray.rendering.figure_file import save_figure
from voxarray.rendering.imshow_options import require_known
from voxarray.rendering.intensity_window import FULL_RANGE
from voxarray.rendering.matplotlib_import import pyplot, to_rgb
from voxarray.rendering.overlays import require_overlap
from voxarray.rendering.planes import Plane, View, as_channels, flat_axes, planes
from voxarray.source.base import Source
from voxarray.storage.destination import local_destination

if TYPE_CHECKING:
    from voxarray.source.drawable import Drawable

MIN_PIXELS = 256
"""Of the longest axis, whatever the size of the figure."""


_FIGURE = 4 << 20
"""Bytes of a figure, its axes and letters, and of the canvas that it is saved from."""

_LETTERS = 0.6
"""Inches at the left of each plane: numbers of voxels, and which side is which."""

_TITLES = 0.9
"""Inches above and below a plane."""


def plot(
    image: Drawable,
    *,
    radiological: bool = True,
    channel: int | None = None,
    axes: Sequence[Any] | None = None,
    cmap: Any = None,
    output_path: str | os.PathLike[str] | None = None,
    show: bool = True,
    xlabels: bool = True,
    percentiles: tuple[float, float] = FULL_RANGE,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    reorient: bool = True,
    indices: Sequence[int] | None = None,
    rgb: bool = True,
    savefig_kwargs: Mapping[str, Any] | None = None,
    labels: Drawable | Mapping[str, Drawable] | None = None,
    opacity: float = 0.5,
    **imshow_kwargs: Any,
) -> Any:
    """Draw the sagittal, coronal and axial plane of an image, or a single slice.

    The names and defaults are TorchIO's. Only these planes are read; from an archive, those of the
    coarsest level that fills the figure.

    Args:
        image: What to draw.
        radiological: Whether the patient's right is on the left; if false, pictures are mirrored.
        channel: Which channel or volume; by default the first one, for label maps the last one.
        axes: Three of matplotlib's axes to draw into, or one for a single slice.
        cmap: A colour map; for labels also a dict of colours, by name or RGB from 0 to 255.
        output_path: Where to save the figure.
        show: Whether to show it.
        xlabels: Whether to label the left and right sides.
        percentiles: Black and white are the intensities at these percentiles of what is drawn.
        figsize: Width and height of the figure in inches; as wide as matplotlib's, and as high
            as the planes need, by default.
        title: Above the figure.
        reorient: Whether planes are sagittal, coronal and axial; if false, they lie along W, H and
            D as stored. Numbers at the edges are indices of what is drawn, hence those of the
            image itself only if it is false, or the image is stored as RAS+.
        indices: Index of the voxel, in the reoriented image, through which the planes run; by
            default the middle.
        rgb: Whether to draw three channels as colours.
        savefig_kwargs: For ``Figure.savefig``.
        labels: A label map, or several by name, to draw over the planes, placed by its own affine.
        opacity: Opacity of the labels, 0 to 1.
        **imshow_kwargs: For ``Axes.imshow``.

    Returns:
        The figure; None if ``axes`` were given.

    Raises:
        MissingPackageError: If matplotlib is not installed.
        GridError: If a label map does not overlap the image (``NO_OVERLAP``).
        OutOfRangeError: If the channel or the indices do not exist.
        ValueError: If there are not as many axes as planes.
    """
    if output_path is not None:
        output_path = local_destination(output_path)
    plt = pyplot()
    require_known(imshow_kwargs, plot)
    source = image.source
    over = overlaid(image, labels)
    saving = dict(savefig_kwargs or {})
    size = figsize or plt.rcParams["figure.figsize"]
    dpi = saving.get("dpi", "figure")
    view = View(
        channels=_channels(image, channel, rgb=rgb),
        indices=indices,
        radiological=radiological,
        reorient=reorient,
        pixels=_needed_pixels(
            image, size, plt.rcParams["figure.dpi"] if isinstance(dpi, str) else dpi
        ),
        figure=_FIGURE,
    )
    across = (0, 1, 2) if axes is not None and len(axes) == 3 else _across(source, view)
    panels = planes(source, view, across)
    style = _style(image, panels, cmap, percentiles, imshow_kwargs)
    figure = None
    if axes is None:
        # Widths as in the patient give all planes the same scale.
        widths = [plane.width for plane in panels]
        if figsize is None:
            size = (size[0], min(size[1], _height(panels, size[0], titled=title is not None)))
        figure, subplots = plt.subplots(
            1, len(panels), figsize=size, squeeze=False, layout="tight", width_ratios=widths
        )
        axes = subplots[0]
    elif len(axes) != len(panels):
        raise ValueError(
            f"axes= holds {len(axes)} axes: expected {len(panels)}, one for each plane that is "
            "drawn"
        )
    draw(panels, axes, style, xlabels=xlabels)
    draw_over(panels, axes, over.values(), opacity)
    if title is not None:
        axes[0].figure.suptitle(title)
    if figure is not None and output_path is not None:
        save_figure(figure, output_path, saving)
    if show:
        plt.show()
    return figure


def overlaid(
    image: Drawable, labels: Drawable | Mapping[str, Drawable] | None
) -> Mapping[str, Drawable]:
    """Label maps by name, once it is known that they lie where the image does.

    Raises:
        GridError: If one lies elsewhere (``NO_OVERLAP``).
        TypeError: For what is no label map.
    """
    if labels is None:
        return {}
    # An image is a mapping, too: of its metadata.
    by_name: Any = {"labels": labels} if hasattr(labels, "source") else labels
    if not isinstance(by_name, Mapping) or not all(
        hasattr(label_map, "source") for label_map in by_name.values()
    ):
        raise TypeError(
            f"labels= takes a label map, or several by name, not {type(labels).__name__}: "
            'vx.LabelMap(path), or {"tumour": vx.LabelMap(path)}'
        )
    for name, label_map in by_name.items():
        require_overlap(image.grid, label_map.grid, name)
    checked: Mapping[str, Drawable] = by_name
    return checked


def _height(panels: list[Plane], width: float, *, titled: bool) -> float:
    """Inches that planes side by side need, with their letters: flat ones leave no empty band."""
    sizes = [(plane.width, plane.height) for plane in panels]
    return height_in_row(sizes, width) + (0.4 if titled else 0)


def height_in_row(sizes: Sequence[tuple[float, float]], width: float) -> float:
    """Inches that planes of some sizes (mm) need side by side, their letters included."""
    available = width - _LETTERS * len(sizes)
    return available * max(h for _, h in sizes) / sum(w for w, _ in sizes) + _TITLES


def _channels(image: Drawable, channel: int | None, *, rgb: bool) -> range:
    count = image.num_channels
    if channel is not None:
        return as_channels(channel, count)
    if image.type == LABEL:
        return as_channels(-1, count)
    if rgb and count == 3:
        return as_channels(None, count)
    if count > 1:
        warn_caller(
            f"Multiple channels found in the image ({count}): the first is drawn. To draw another, "
            'use the "channel" argument',
            RuntimeWarning,
        )
    return range(1)


def _needed_pixels(image: Drawable, size: Sequence[float], dpi: float) -> int:
    """Pixels of the longest axis, where planes lie side by side, or one fills the figure.

    More cost time where each is a read of its own, as in sagittal planes of files.
    """
    if 1 in image.grid.shape:
        inches = max(size[0] / 3, min(size))
    else:
        extents = [n * mm for n, mm in zip(image.grid.shape, image.grid.spacing, strict=True)]
        # Three planes are at least three times as wide as the shortest axis, and as high as any.
        inches = min(size[1], size[0] * max(extents) / (3 * min(extents)))
    return max(MIN_PIXELS, math.ceil(inches * dpi))


def _across(source: Source, view: View) -> tuple[int, ...]:
    shape: Shape3 = source.grid.reorient("RAS").shape if view.reorient else source.grid.shape
    return flat_axes(shape)


def _style(
    image: Drawable,
    panels: Sequence[Plane],
    cmap: Any,
    percentiles: tuple[float, float],
    options: Mapping[str, Any],
) -> Style:
    if isinstance(cmap, Mapping):
        # As in TorchIO, what the user does not name is black.
        values = np.concatenate([np.unique(plane.pixels) for plane in panels])
        black = dict.fromkeys((float(value) for value in values), (0, 0, 0))
        by_label = {float(label): to_rgb(colour) for label, colour in cmap.items()}
        return Style({**black, **by_label}, options=options)
    if cmap is None and image.type == LABEL and are_labels(panels):
        return Style(image.label_colours, options=options)
    chosen = {} if cmap is None else {"cmap": cmap}
    if image.type == LABEL:
        options = {**options, "interpolation": "none"}
    return Style(percentiles=percentiles, options={**options, **chosen})
