"""Planes as a PNG file, at their true proportions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voxarray.errors import UnsupportedError
from voxarray.planes import Plane

if TYPE_CHECKING:
    from PIL import Image as PillowImage

WINDOW = (0.5, 99.5)
"""Percentiles of the drawn voxels that become black and white."""

_GAP = 4


def write_planes(
    planes: Sequence[Plane], path: str | os.PathLike[str], height: int = 320
) -> tuple[int, int]:
    """Draw planes side by side, grey, with the same millimetres per pixel.

    Args:
        planes: As `voxarray.planes.orthogonal` makes them.
        path: PNG file, replaced if it exists.
        height: Pixels of the tallest plane.

    Returns:
        Width and height of the picture in pixels.

    Raises:
        UnsupportedError: If Pillow is not installed; code ``NO_PILLOW``.
    """
    try:
        from PIL import Image
    except ImportError:
        raise UnsupportedError(
            "drawing needs Pillow: pip install 'voxarray[plot]'", code="NO_PILLOW"
        ) from None
    scale = height / max(plane.height for plane in planes)
    low, high = _window(planes)
    drawn = [_picture(plane, low, high, scale) for plane in planes]
    canvas = Image.new("L", (sum(d.width + _GAP for d in drawn) - _GAP, height))
    left = 0
    for picture in drawn:
        canvas.paste(picture, (left, (height - picture.height) // 2))
        left += picture.width + _GAP
    canvas.save(path, "PNG")
    return canvas.width, canvas.height


def _window(planes: Sequence[Plane]) -> tuple[float, float]:
    """Intensities that become black and white, the same in all planes."""
    values = np.concatenate([_real(plane.pixels).ravel() for plane in planes])
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(finite, WINDOW)
    return float(low), float(high)


def _picture(plane: Plane, low: float, high: float, scale: float) -> PillowImage.Image:
    from PIL import Image

    size = max(1, round(plane.width * scale)), max(1, round(plane.height * scale))
    return Image.fromarray(_grey(plane.pixels, low, high)).resize(size, Image.Resampling.BILINEAR)


def _grey(pixels: NDArray, low: float, high: float) -> NDArray[np.uint8]:
    scaled = (_real(pixels) - low) / max(high - low, float(np.finfo(np.float32).tiny))
    grey: NDArray[np.uint8] = (np.nan_to_num(scaled).clip(0, 1) * 255).astype(np.uint8)
    return grey


def _real(pixels: NDArray) -> NDArray[np.float64]:
    """Pixels as real numbers: of complex ones the magnitude."""
    values = np.abs(pixels) if pixels.dtype.kind == "c" else pixels
    return values.astype(np.float64)
