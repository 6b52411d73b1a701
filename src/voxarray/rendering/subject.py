"""`Subject.plot`: three planes of each of several images in one figure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from voxarray.rendering import volume
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
    **plot_kwargs: Any,
) -> Any:
    """Draw the sagittal, coronal and axial plane of each image.

    The names and defaults are TorchIO's.

    Args:
        images: At least one, by name.
        cmap_dict: Colour maps by name of the image.
        show: Whether to show the figure.
        output_path: Where to save it.
        figsize: Its width and height in inches.
        savefig_kwargs: For ``Figure.savefig``.
        **plot_kwargs: As `voxarray.rendering.volume.plot` takes them, for every image.

    Returns:
        The figure.

    Raises:
        MissingPackageError: If matplotlib is not installed.
    """
    if output_path is not None:
        output_path = local_destination(output_path)
    plt = pyplot()
    in_columns = len(images) >= _MANY
    size = (3, len(images)) if in_columns else (len(images), 3)
    figure, axes = plt.subplots(*size, figsize=figsize, squeeze=False, layout="tight")
    rows = axes.T if in_columns else axes
    for row, (name, image) in zip(rows, images.items(), strict=True):
        cmap = (cmap_dict or {}).get(name)
        volume.plot(image, axes=row, cmap=cmap, show=False, **plot_kwargs)
        for one in row:
            one.set_title(f"{name} ({one.get_title().lower()})")
    if output_path is not None:
        figure.savefig(output_path, **(savefig_kwargs or {}))
    if show:
        plt.show()
    return figure
