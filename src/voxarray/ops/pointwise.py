"""Operations on single values: each voxel depends on the same voxel of the base alone."""

from __future__ import annotations

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
    order = sorted(range(voxels.ndim), key=lambda axis: -abs(voxels.strides[axis]))
    ordered, out = voxels.transpose(order), result.transpose(order)
    if ordered.flags.c_contiguous and out.flags.c_contiguous:
        ordered, out = ordered.reshape(-1), out.reshape(-1)
    _in_steps(function, ordered, out)
    return result


def _in_steps(function: Callable[..., NDArray], voxels: NDArray, out: NDArray) -> None:
    """Write results along the first axis, and along the next where one of its steps is large."""
    if voxels.size > _STEP and voxels.size > _STEP * len(voxels):
        for part, target in zip(voxels, out, strict=True):
            _in_steps(function, part, target)
        return
    length = max(1, _STEP * len(voxels) // max(1, voxels.size))
    for start in range(0, len(voxels), length):
        out[start : start + length] = function(voxels[start : start + length])
