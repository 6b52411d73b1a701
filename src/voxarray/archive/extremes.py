"""The smallest and the largest voxel of an image, found while its chunks are at hand anyway."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.scaling import Scaling

Ends = tuple[Any, Any]
"""The smallest and the largest of some voxels, as stored."""


class Extremes:
    """Smallest and largest finite value of all voxels that pass through `watching`.

    Chunks come from several threads, each while it is in the processor's cache.

    Attributes:
        ends: What was found; None as long as no value was finite.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.ends: Ends | None = None

    def watching(self, convert: Callable[[NDArray], NDArray]) -> Callable[[NDArray], NDArray]:
        """A function that does what ``convert`` does and looks at its result."""

        def watch(block: NDArray) -> NDArray:
            voxels = convert(block)
            self.add(voxels)
            return voxels

        return watch

    def add(self, voxels: NDArray) -> None:
        """Look at voxels of any shape; complex ones have no order and are left out."""
        ends = _ends(voxels)
        if ends is not None:
            self.include(ends)

    def include(self, ends: Ends) -> None:
        """Take into account the smallest and the largest of voxels that were seen elsewhere."""
        with self._lock:
            seen = ends if self.ends is None else (*self.ends, *ends)
            self.ends = min(seen), max(seen)

    def of(self, scaling: Scaling | None) -> dict[str, Any]:
        """``minimum`` and ``maximum`` as JSON; None where no value is finite.

        Args:
            scaling: What makes intensities of the voxels that were seen.
        """
        if self.ends is None:
            return {"minimum": None, "maximum": None}
        ends = np.array(self.ends)
        if scaling is not None:
            ends = np.sort(scaling.apply(ends))
        low, high = ends.tolist()
        return {"minimum": low, "maximum": high}


def _ends(voxels: NDArray) -> Ends | None:
    if voxels.dtype.kind == "c" or not voxels.size:
        return None
    low, high = voxels.min(), voxels.max()
    if voxels.dtype.kind == "f" and not (np.isfinite(low) and np.isfinite(high)):
        finite = voxels[np.isfinite(voxels)]
        if not finite.size:
            return None
        low, high = finite.min(), finite.max()
    return low, high
