"""`Subject.plot`: three planes of each of several images in one figure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from voxarray.core.keys import LABEL
from voxarray.rendering import volume
from voxarray.rendering.figure_file import save_figure
from voxarray.rendering.matplotlib_import import pyplot
from voxarray.storage.destination import local_destination

if TYPE_CHECKING:
    from voxarray.source.drawable import Drawable

_MANY = 3  # images from which on they stand in columns, not in rows


def plot(
    images: Mapping[str, Drawable],
    *,
    cmap_dict: Mapping[str, Any] | None = None,
    show: bool = True,
    output_path: str | os.PathLike[str] | None = None,
    figsize: tuple[float, float] | None = None,
    savefig_kwargs: Mapping[str, Any] | None = None,
    overlay: bool = False,
    **plot_kwargs: Any,
) -> Any:
    """Draw the sagittal, coronal and axial plane of each image.

    The names and defaults are TorchIO's.

    Args:
        images: At least one, by name.
        cmap_dict: Colour maps by name of the image.
        show: Whether to show the figure.
        output_path: Where to save it.
        figsize: Its width and height in inches; as high as the planes need by default.
        savefig_kwargs: For ``Figure.savefig``.
        overlay: Draw the label maps over each of the other images, not beside them.
        **plot_kwargs: As `voxarray.rendering.volume.plot` takes them, for every image.

    Returns:
        The figure.

    Raises:
        MissingPackageError: If matplotlib is not installed.
    """
    if output_path is not None:
        output_path = local_destination(output_path)
    plt = pyplot()
    if overlay:
        images, labels = apart(images)
        plot_kwargs = {"labels": labels, **plot_kwargs}
    in_columns = len(images) >= _MANY
    size = (3, len(images)) if in_columns else (len(images), 3)
    figure, axes = plt.subplots(
        *size,
        figsize=figsize or _size(images, plt.rcParams["figure.figsize"][0], in_columns=in_columns),
        squeeze=False,
        layout="tight",
        **_ratios(images, in_columns=in_columns),
    )
    rows = axes.T if in_columns else axes
    for row, (name, image) in zip(rows, images.items(), strict=True):
        cmap = (cmap_dict or {}).get(name)
        volume.plot(image, axes=row, cmap=cmap, show=False, **plot_kwargs)
        for axis in row:
            axis.set_title(f"{name} ({axis.get_title().lower()})")
    if output_path is not None:
        save_figure(figure, output_path, savefig_kwargs)
    if show:
        plt.show()
    return figure


def apart(images: Mapping[str, Drawable]) -> tuple[dict[str, Drawable], dict[str, Drawable]]:
    """Scans, and the label maps to draw over them; of label maps alone, these and none."""
    labels = {name: image for name, image in images.items() if image.type == LABEL}
    scans = {name: image for name, image in images.items() if name not in labels}
    return (scans, labels) if scans else (labels, {})


def _size(images: Mapping[str, Drawable], width: float, *, in_columns: bool) -> tuple[float, float]:
    """Inches in which planes of all images leave no empty bands, letters included."""
    sizes = [_sizes(image) for image in images.values()]
    if not in_columns:
        return (width, sum(volume.height_in_row(each, width) for each in sizes))
    column = max(width / 3, 2.0)
    planes = zip(*sizes, strict=True)
    heights = [max(volume.height_in_row([size], column) for size in plane) for plane in planes]
    return (column * len(images), sum(heights))


def _ratios(images: Mapping[str, Drawable], *, in_columns: bool) -> dict[str, list[float]]:
    """How much room each column and row gets, as the planes in it need it."""
    sizes = [_sizes(image) for image in images.values()]
    if in_columns:
        planes = zip(*sizes, strict=True)
        return {"height_ratios": [max(h / w for w, h in plane) for plane in planes]}
    # Widths of planes as a part of the row: rows of another scale have other millimetres.
    parts = [[w / sum(each for each, _ in row) for w, _ in row] for row in sizes]
    return {
        "width_ratios": [max(column) for column in zip(*parts, strict=True)],
        "height_ratios": [max(h for _, h in row) / sum(w for w, _ in row) for row in sizes],
    }


def _sizes(image: Drawable) -> list[tuple[float, float]]:
    """Width and height of the sagittal, coronal and axial plane, mm."""
    grid = image.grid.reorient("RAS")
    x, y, z = (n * mm for n, mm in zip(grid.shape, grid.spacing, strict=True))
    return [(y, z), (x, z), (x, y)]
