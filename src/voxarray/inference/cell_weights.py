"""What a patch weighs in each voxel of a cell, as a share of all patches that cover it.

The shares of a voxel add up to one, so that sums are means already: they stay in the range of the
predictions, which float16 needs, and nothing has to be divided in the end.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from voxarray.inference.axis_plan import AxisPlan
from voxarray.inference.patch_plan import Cell, PatchPlan, Visit

KEPT_BYTES = 32 << 20
"""Shares that are kept: most cells are weighed alike."""

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
        self._kept: OrderedDict[object, dict[Visit, NDArray[np.float32]]] = OrderedDict()
        self._bytes = 0

    def share(self, cell: Cell, visit: Visit) -> NDArray[np.float32]:
        """Shares (w, h, d) of a patch in the voxels of a cell."""
        axes = self._plan.axes
        key = tuple(axis.pattern(n) for axis, n in zip(axes, cell, strict=True))
        shares = self._kept.get(key)
        if shares is None:
            shares = self._kept[key] = self._shares(cell)
            self._bytes += _size(shares)
            while self._bytes > KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= _size(self._kept.popitem(last=False)[1])
        self._kept.move_to_end(key)
        firsts = (axis.visits[n][0] for axis, n in zip(axes, cell, strict=True))
        x, y, z = (v - first for v, first in zip(visit, firsts, strict=True))
        return shares[x, y, z]

    def _shares(self, cell: Cell) -> dict[Visit, NDArray[np.float32]]:
        """Shares of all patches that cover a cell, by their number among them."""
        axes = self._plan.axes
        spans = [axis.visits[n] for axis, n in zip(axes, cell, strict=True)]
        raw = {
            (x, y, z): self._raw(cell, (spans[0][0] + x, spans[1][0] + y, spans[2][0] + z))
            for x, y, z in itertools.product(*(range(last - first + 1) for first, last in spans))
        }
        total = reduce(np.add, raw.values())
        return {key: (one / total).astype(np.float32) for key, one in raw.items()}

    def _raw(self, cell: Cell, visit: Visit) -> NDArray[np.float64]:
        x, y, z = (
            axis.window(n, v) for axis, n, v in zip(self._plan.axes, cell, visit, strict=True)
        )
        weights: NDArray[np.float64] = x[:, None, None] * y[:, None] * z
        return np.maximum(weights, self._floor)


def _floor(plan: PatchPlan) -> float:
    smallest = 1.0
    for axis in plan.axes:
        smallest *= float(_window(axis).min())
    return max(smallest, LEAST)


def _window(axis: AxisPlan) -> NDArray[np.float64]:
    window: NDArray[np.float64] = axis.windows[0]
    return window


def _size(shares: dict[Visit, NDArray[np.float32]]) -> int:
    return sum(one.nbytes for one in shares.values())
