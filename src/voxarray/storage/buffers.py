"""Moving voxels between buffers in memory: by whole rows, through memory that is used again."""

from __future__ import annotations

import math
import threading
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from voxarray.geometry.selection import Shape4

_FEW_VOXELS = 1 << 12
"""So many take no longer than to ask how their rows lie."""


def copy_rows(target: NDArray, source: NDArray) -> None:
    """``target[...] = source`` for arrays of one shape and type.

    NumPy copies a part of a volume element by element along x, with a loop for every row. Seen as
    items of a row's size, rows are moved as wholes, which halves the time, but for a few voxels.
    """
    is_large = source.size > _FEW_VOXELS and source.dtype == target.dtype
    if is_large and _has_whole_rows(source) and _has_whole_rows(target):
        row = _row(source.shape[-1] * source.itemsize)
        target.view(row)[...] = source.view(row)
    else:
        target[...] = source


def dense(block: NDArray) -> NDArray:
    """The same voxels without gaps: themselves, or a copy in memory that this thread keeps.

    Passes over a part of a volume go row by row; over a dense one they take half the time.
    """
    if block.flags.c_contiguous:
        return block
    n, z, y, x = block.shape
    copy = scratch("dense", (n, z, y, x), block.dtype)
    copy_rows(copy, block)
    return copy


@lru_cache(maxsize=512)
def _row(size: int) -> np.dtype:
    return np.dtype((np.void, size))


def _has_whole_rows(array: NDArray) -> bool:
    return array.strides[-1] == array.itemsize and array.shape[-1] > 1


_local = threading.local()


def scratch(purpose: str, shape: Shape4, dtype: np.dtype) -> NDArray:
    """An uninitialised array that this thread had before, or has from now on, for a purpose."""
    return scratch_bytes(purpose, math.prod(shape) * dtype.itemsize).view(dtype).reshape(shape)


def scratch_bytes(purpose: str, size: int) -> NDArray[np.uint8]:
    """As `scratch`, for so many bytes."""
    buffer: NDArray[np.uint8] | None = getattr(_local, purpose, None)
    if buffer is None or buffer.size < size:
        buffer = np.empty(size, np.uint8)
        setattr(_local, purpose, buffer)
    return buffer[:size]
