"""`Image.lightbox`: slices of one direction beside each other, as on the wall of a reading room."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.keys import LABEL
from voxarray.rendering.drawing import Style, are_labels, draw, draw_over
from voxarray.rendering.figure_file import save_figure
from voxarray.rendering.imshow_options import require_known
from voxarray.rendering.intensity_window import FULL_RANGE
from voxarray.rendering.matplotlib_import import pyplot
from voxarray.rendering.planes import Plane, View, as_channels, planes
from voxarray.rendering.volume import overlaid
from voxarray.storage.destination import local_destination

if TYPE_CHECKING:
    from voxarray.source.drawable import Drawable

_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


def lightbox(
    image: Drawable,
    *,
    plane: str = "axial",
    slices: int = 15,
    columns: int = 5,
    channel: int | None = None,
    labels: Drawable | Mapping[str, Drawable] | None = None,
    opacity: float = 0.5,
    percentiles: tuple[float, float] = FULL_RANGE,
    radiological: bool = True,
    figsize: tuple[float, float] | None = None,
    title: str | None = None,
    show: bool = True,
    output_path: str | os.PathLike[str] | None = None,
    savefig_kwargs: Mapping[str, Any] | None = None,
    **imshow_kwargs: Any,
) -> Any:
    """Draw slices at equal distances, the first at the inferior, posterior or left end.

    Args:
        image: Image to draw; only the slices are read, from an archive those of a level that fills
            the figure.
        plane: ``"axial"``, ``"coronal"`` or ``"sagittal"``.
        slices: Number of slices; fewer if the image has fewer.
        columns: Number of columns of the figure.
        channel: Which channel; by default the first one, for label maps the last one.
        labels: A label map, or several by name, over the slices.
        opacity: Opacity of the labels, 0 to 1.
        percentiles: Black and white are the intensities at these percentiles of what is drawn.
        radiological: Whether the patient's right is on the left.
        figsize: Width and height in inches; as high as the slices need by default.
        title: Above the figure.
        show: Whether to show it.
        output_path: Where to save it.
        savefig_kwargs: For ``Figure.savefig``.
        **imshow_kwargs: For ``Axes.imshow``.

    Returns:
        The figure.

    Raises:
        MissingPackageError: If matplotlib is not installed.
        GridError: If a label map does not overlap the image (``NO_OVERLAP``).
        ValueError: For an unknown plane, and for less than one slice or column.
    """
    if not all(isinstance(n, int | np.integer) for n in (slices, columns)):
        raise TypeError(
            f"slices= and columns= of lightbox are numbers of slices and of columns, not "
            f"{slices!r:.60} and {columns!r:.60}: plot(indices=...) draws slices of your choice"
        )
    if plane not in _AXES or slices < 1 or columns < 1:
        raise ValueError(
            f"lightbox takes {', '.join(_AXES)} as plane=, and slices= and "
            f"columns= of at least 1, not {plane=}, {slices=}, {columns=}"
        )
    if output_path is not None:
        output_path = local_destination(output_path)
    plt = pyplot()
    require_known(imshow_kwargs, lightbox)
    over = overlaid(image, labels)
    axis = _AXES[plane]
    width = figsize[0] if figsize else plt.rcParams["figure.figsize"][0] * 1.5
    pixels = math.ceil(width / columns * plt.rcParams["figure.dpi"])
    default = -1 if image.type == LABEL else 0
    view = View(
        channels=as_channels(default if channel is None else channel, image.num_channels),
        radiological=radiological,
        pixels=pixels,
    )
    shape = image.grid.reorient("RAS").shape
    panels = _slices(image, view, axis, min(slices, shape[axis]))
    rows = math.ceil(len(panels) / columns)
    cell = width / columns
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=figsize or (width, rows * (cell * panels[0].height / panels[0].width + 0.25)),
        squeeze=False,
        layout="constrained",
    )
    flat = list(axes.ravel())
    is_labels = image.type == LABEL and are_labels(panels)
    style = (
        Style(image.label_colours or {}, options=imshow_kwargs)
        if is_labels
        else Style(percentiles=percentiles, options=imshow_kwargs)
    )
    draw(panels, flat[: len(panels)], style, xlabels=False)
    draw_over(panels, flat[: len(panels)], over.values(), opacity)
    for cell_axes in flat:
        cell_axes.set(xticks=[], yticks=[], ylabel="")
        cell_axes.set_visible(cell_axes in flat[: len(panels)])
    if title is not None:
        figure.suptitle(title)
    if output_path is not None:
        save_figure(figure, output_path, savefig_kwargs)
    if show:
        plt.show()
    return figure


def _slices(image: Drawable, view: View, axis: int, count: int) -> list[Plane]:
    """Planes in the middle of as many equal parts, named by where they are in the patient."""
    shape = image.grid.reorient("RAS").shape
    centre = [n // 2 for n in shape]
    panels = []
    for part in range(count):
        point = list(centre)
        point[axis] = int((part + 0.5) * shape[axis] / count)
        (plane,) = planes(image.source, replace(view, indices=point), (axis,))
        mm = float(_middle(plane)[axis])
        panels.append(replace(plane, name=f"{'RAS'[axis]} {mm:+.4g} mm"))
    return panels


def _middle(plane: Plane) -> NDArray[np.float64]:
    """Where the middle of a plane is, RAS+ mm."""
    rows, columns = plane.pixels.shape[:2]
    middle: NDArray[np.float64] = plane.pixel_affine[:3] @ ((columns - 1) / 2, (rows - 1) / 2, 1)
    return middle
