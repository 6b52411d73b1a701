"""Operations on single values: each voxel depends on the same voxel of the base alone."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from voxarray.geometry.selection import Selection
from voxarray.ops.operation import Operation

_STEP = 1 << 16
"""Voxels computed at once, so that temporaries stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Pointwise(Operation):
    """The same function of every voxel.

    Attributes:
        ascends: Whether the function of a smaller value is never larger, and finite of finite
            ones. Statistics of the result then follow from those of the base.
    """

    ascends: ClassVar[bool] = True

    @abstractmethod
    def function(self, values: NDArray) -> NDArray:
        """New values of values in the type of the base; any shape. Nothing given is changed."""

    def line(self, low: float, high: float) -> tuple[float, float] | None:
        """Slope and intercept if the function is linear between two values; else None."""
        return None

    def needs(self, selection: Selection) -> tuple[Selection | None, ...]:
        return (selection,)

    def compute(self, selection: Selection, parts: Sequence[Any]) -> NDArray:
        return in_steps(self.function, parts[0], self.dtype)


def in_steps(function: Callable[..., NDArray], voxels: NDArray, dtype: np.dtype) -> NDArray:
    """A function of arrays of voxels, applied to a few at a time; the memory order is kept."""
    result = np.empty_like(voxels, dtype=dtype)
    flat, out = _flat(voxels), _flat(result)
    if flat is None or out is None:
        result[...] = function(voxels)
        return result
    for start in range(0, flat.size, _STEP):
        out[start : start + _STEP] = function(flat[start : start + _STEP])
    return result


def _flat(voxels: NDArray) -> NDArray | None:
    """A view of all voxels in memory order; None if they do not lie side by side."""
    order = sorted(range(voxels.ndim), key=lambda axis: -abs(voxels.strides[axis]))
    flat = voxels.transpose(order).reshape(math.prod(voxels.shape))
    return flat if np.shares_memory(flat, voxels) else None
