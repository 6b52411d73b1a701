"""Planes as a PNG file, at their true proportions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from voxarray.core.optional import import_optional
from voxarray.rendering.intensity_window import WITHOUT_OUTLIERS, intensity_window, to_grey
from voxarray.rendering.planes import Plane
from voxarray.storage.atomic_write import atomic_write

if TYPE_CHECKING:
    from PIL import Image as PillowImage

_GAP = 4


def write_planes(
    planes: Sequence[Plane], path: str | os.PathLike[str], height: int = 320
) -> tuple[int, int]:
    """Draw planes side by side, grey, with the same millimetres per pixel.

    Args:
        planes: As `voxarray.rendering.planes.orthogonal` makes them.
        path: PNG file, replaced if it exists.
        height: Pixels of the tallest plane.

    Returns:
        Width and height of the picture in pixels.

    Raises:
        MissingPackageError: If Pillow is not installed.
        ArchiveError: If writing fails.
    """
    Image = import_optional("PIL.Image", "voxarray[plot]")
    scale = height / max(plane.height for plane in planes)
    # The same for all planes:
    low, high = intensity_window([plane.pixels[..., 0] for plane in planes], WITHOUT_OUTLIERS)
    pictures = [_picture(plane, low, high, scale) for plane in planes]
    canvas = Image.new("L", (sum(d.width + _GAP for d in pictures) - _GAP, height))
    left = 0
    for picture in pictures:
        canvas.paste(picture, (left, (height - picture.height) // 2))
        left += picture.width + _GAP
    with atomic_write(path, overwrite=True) as file:
        canvas.save(file, "PNG")
    return canvas.width, canvas.height


def _picture(plane: Plane, low: float, high: float, scale: float) -> PillowImage.Image:
    from PIL import Image

    size = max(1, round(plane.width * scale)), max(1, round(plane.height * scale))
    grey = to_grey(plane.pixels[..., 0], low, high)
    return Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR)
