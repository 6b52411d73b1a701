"""Single slices as Pillow images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import StateError, UnsupportedError
from voxarray.core.memory import require
from voxarray.core.optional import import_optional
from voxarray.geometry.selection import Selection
from voxarray.source.base import Source


def to_pil(source: Source, *, transpose: bool = True) -> Any:
    """A `PIL.Image` of one slice: RGB of one or three channels, RGBA of four.

    Values are clamped to 0 to 255, and fractions cut off.

    Args:
        source: (C, W, H, 1) with one, three or four channels.
        transpose: If true, W runs to the right, otherwise downwards.

    Raises:
        StateError: If there is more than one slice (``NOT_2D``); also a RuntimeError.
        UnsupportedError: For complex voxels or other numbers of channels (``BAD_CHANNELS``).
        MissingPackageError: If Pillow is not installed.
        MemoryBudgetError: If it needs more memory than allowed; nothing was read.
    """
    Image = import_optional("PIL.Image", "voxarray[plot]")
    channels = source.shape[0]
    if source.shape[3] != 1:
        raise StateError(
            f"Image is not 2D. Spatial shape: {source.shape[1:]}; take one slice, such as "
            "image[..., 0]",
            code="NOT_2D",
        )
    if channels not in (1, 3, 4) or source.dtype.kind == "c":
        raise UnsupportedError(
            "a Pillow image has 1, 3 or 4 channels of real numbers, and this image has "
            f"{channels} of type {source.dtype.name}: take one channel (image[:1, :, :, :]), or "
            "the magnitude of complex voxels (abs(image.array))",
            code="BAD_CHANNELS",
        )
    itemsize = source.dtype.itemsize
    require(
        source.reading_bytes + math.prod(source.shape) * (4 * itemsize + 8),
        lambda: f"a Pillow image of {source.shape}",
        "take a part or a coarser level(n), or raise the budget",
    )
    pixels = _bytes(source.read(Selection.whole(source.shape)))[..., 0]
    if channels == 1:
        pixels = pixels.repeat(3, axis=0)
    order = (2, 1, 0) if transpose else (1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(order)))


def _bytes(voxels: NDArray) -> NDArray[np.uint8]:
    # NaN has no grey level; TorchIO leaves it to the platform, on x86 it is black.
    without_nan = np.nan_to_num(voxels, nan=0) if voxels.dtype.kind == "f" else voxels
    clamped: NDArray[np.uint8] = np.clip(without_nan, 0, 255).astype(np.uint8)
    return clamped
