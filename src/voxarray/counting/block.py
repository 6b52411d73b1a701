"""Values of one block of voxels that is in memory, and how often each occurs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voxarray.counting.tally import Tally


def count_block(voxels: NDArray) -> tuple[NDArray, NDArray[np.int64]]:
    """Values, ascending, and counts; labels in a wide type are seldom large: no sorting then."""
    if voxels.dtype.kind in "bu" and voxels.dtype.itemsize == 1:
        counts = np.bincount(voxels.ravel(order="K").view(np.uint8), minlength=1 << 8)
        found = np.flatnonzero(counts)
        return found.astype(voxels.dtype), counts[found].astype(np.int64, copy=False)
    with np.errstate(invalid="ignore"):  # of what does not fit, which the comparison finds
        small = voxels.astype(np.uint16)
    if not np.array_equal(small, voxels):
        return np.unique(voxels, return_counts=True)
    tally = Tally(small.dtype)
    tally.add(small.ravel(order="K"))
    values, counts = tally.found()
    return values.astype(voxels.dtype), counts
