"""What a patch weighs in each voxel of a cell, as a share of all patches that cover it.

The shares of a voxel add up to one, so that sums are means already: they stay in the range of the
predictions, which float16 needs, and nothing has to be divided in the end.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from voxarray.inference.axis_plan import AxisPlan
from voxarray.inference.patch_plan import Cell, PatchPlan, Visit

KEPT_BYTES = 12 << 20
"""Shares and sums of weights that are kept: most cells are weighed alike."""

LEAST = 1e-3
"""Least weight of a Gaussian window: that of MONAI."""


class CellWeights:
    """Shares of patches, found once for all cells that are weighed alike.

    Args:
        plan: The patches.
        blend: How they are weighed; windows are the plan's.
    """

    def __init__(self, plan: PatchPlan, blend: str) -> None:
        self._plan = plan
        self._floor = _floor(plan) if blend == "gaussian" else 0.0
        self._cache: OrderedDict[object, NDArray] = OrderedDict()
        self._bytes = 0
        # Fresh memory for each of the eight patches of a cell took 1.7 times as long as its sum.
        self._work = np.empty(0)

    @staticmethod
    def peak_bytes(plan: PatchPlan) -> int:
        """Bytes at most: what is kept, two patches of float64 and one of float32."""
        return KEPT_BYTES + math.prod(plan.patch) * (2 * 8 + 4)

    def share(self, cell: Cell, visit: Visit) -> NDArray[np.float32]:
        """Shares (w, h, d) of a patch in the voxels of a cell."""
        axes = self._plan.axes
        pattern = tuple(axis.pattern(n) for axis, n in zip(axes, cell, strict=True))
        firsts = (axis.visits[n][0] for axis, n in zip(axes, cell, strict=True))
        number = tuple(v - first for v, first in zip(visit, firsts, strict=True))

        def weighed() -> NDArray:
            total = self._cached(pattern, lambda: self._total(cell))
            weights = self._raw(cell, visit)
            weights /= total
            return weights.astype(np.float32)

        return self._cached((pattern, number), weighed)

    def _cached(self, key: object, make: Callable[[], NDArray]) -> NDArray:
        if key not in self._cache:
            value = self._cache[key] = make()
            self._bytes += value.nbytes
            while self._bytes > KEPT_BYTES and len(self._cache) > 1:
                self._bytes -= self._cache.popitem(last=False)[1].nbytes
        self._cache.move_to_end(key)
        return self._cache[key]

    def _total(self, cell: Cell) -> NDArray[np.float64]:
        """Sum of the weights of all patches that cover a cell."""
        axes = self._plan.axes
        x, y, z = (
            range(a.visits[n][0], a.visits[n][1] + 1) for a, n in zip(axes, cell, strict=True)
        )
        total = None
        for visit in itertools.product(x, y, z):
            weights = self._raw(cell, visit)
            total = weights.copy() if total is None else np.add(total, weights, out=total)
        if total is None:
            raise ValueError(f"no patch covers the cell {cell}")
        return total

    def _raw(self, cell: Cell, visit: Visit) -> NDArray[np.float64]:
        """Weights of a patch in a cell, until the next are asked for."""
        x, y, z = (
            axis.window(n, v) for axis, n, v in zip(self._plan.axes, cell, visit, strict=True)
        )
        shape = len(x), len(y), len(z)
        size = math.prod(shape)
        if len(self._work) < size:
            self._work = np.empty(size)
        weights: NDArray[np.float64] = self._work[:size].reshape(shape)
        np.multiply(x[:, None, None] * y[:, None], z, out=weights)
        return np.maximum(weights, self._floor, out=weights)


def _floor(plan: PatchPlan) -> float:
    smallest = 1.0
    for axis in plan.axes:
        smallest *= float(_window(axis).min())
    return max(smallest, LEAST)


def _window(axis: AxisPlan) -> NDArray[np.float64]:
    window: NDArray[np.float64] = axis.windows[0]
    return window
