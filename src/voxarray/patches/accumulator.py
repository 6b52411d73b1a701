"""Sums of patches over a whole volume: in memory, or in a file of which little is resident."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core import memory, settings
from voxarray.geometry.selection import Shape4

_MOST_RESIDENT = 32 << 20
"""Bytes that may be touched in the file before its pages are given back to the system."""


class Accumulator:
    """An array (C, D, H, W) of zeros, seen as (C, W, H, D).

    Args:
        shape: (C, W, H, D).
        dtype: Of the sums.

    Attributes:
        in_memory: Whether it fits into a quarter of the budget; else it is a temporary file without
            a name, in the folder of the setting ``download-directory``, gone with this object.
    """

    def __init__(self, shape: Shape4, dtype: np.dtype) -> None:
        c, w, h, d = shape
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        budget = memory.budget()
        self.in_memory = size <= budget // 4
        self._resident = min(_MOST_RESIDENT, budget // 8)
        self._map: Any = None
        self._touched = 0
        if self.in_memory:
            flat: NDArray = np.zeros(size, np.uint8)
        else:
            with tempfile.TemporaryFile(dir=settings.get("download-directory")) as file:
                file.truncate(size)  # zeros that take no room before something is written
                self._map = mmap.mmap(file.fileno(), size)
            flat = np.frombuffer(self._map, np.uint8)
        self.voxels: NDArray = flat.view(dtype).reshape(c, d, h, w).transpose(0, 3, 2, 1)

    def region(self, box: Sequence[range]) -> NDArray:
        """The sums in a box (W, H, D) of all channels, to be read or changed at once."""
        part = self.voxels[(slice(None), *(slice(r.start, r.stop) for r in box))]
        if self._map is not None:
            pages = _pages(part)
            if self._touched + pages > self._resident:
                self._give_back()
            self._touched += pages
        return part

    def _give_back(self) -> None:
        self._touched = 0
        self._map.flush()
        if hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)  # of a shared mapping: the file keeps all


def _pages(part: NDArray) -> int:
    """Bytes of the pages that a box of a (C, D, H, W) array touches, roughly: its rows, rounded."""
    c, w, h, d = part.shape
    row = min(max(w * part.itemsize, mmap.PAGESIZE), abs(part.strides[2]))
    return int(c * d * h * row)
