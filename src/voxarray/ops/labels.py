"""Labels: renamed, and as one channel for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.core.exact_values import holds
from voxarray.core.promotion import cast
from voxarray.geometry.selection import Selection, Shape4
from voxarray.ops.operation import Operation
from voxarray.ops.pointwise import Pointwise


@dataclass(frozen=True, eq=False)
class Remapped(Pointwise):
    """Labels replaced by others, all at once.

    Attributes:
        old: (n,) ascending labels, which the type of the base holds exactly.
        new: (n,) labels that replace them.
        stored: Type of the result; holds all of them.
    """

    ascends = False

    old: tuple[float, ...]
    new: tuple[float, ...]
    stored: np.dtype

    @property
    def label_table(self) -> tuple[Any, ...]:
        """None: what named an old label would name a new one."""
        return ()

    @property
    def dtype(self) -> np.dtype:
        return self.stored

    def function(self, values: NDArray) -> NDArray:
        result = np.empty_like(values, dtype=self.stored)
        cast(values, result)
        if self.old:
            # Both in the type of the voxels: in any other, NumPy would compare large ones rounded.
            old, new = np.array(self.old, values.dtype), np.array(self.new, self.stored)
            where = np.minimum(np.searchsorted(old, values), len(old) - 1)
            hit = old[where] == values
            result[hit] = new[where[hit]]
        return result


@dataclass(frozen=True, eq=False)
class OneHot(Operation):
    """One channel per label: 1 where the base, of one channel, has the number of the channel.

    Attributes:
        classes: Number of channels.
    """

    classes: int

    @property
    def label_table(self) -> tuple[Any, ...]:
        """None: what named a label would name a channel's 0 and 1."""
        return ()

    @property
    def shape(self) -> Shape4:
        return self.classes, *self.base.shape[1:]

    @property
    def chunks(self) -> Shape4:
        return self.classes, *self.base.chunks[1:]

    def needs(self, selection: Selection) -> tuple[Selection | None, ...]:
        return (Selection((range(1), *selection.spatial)),)

    def cost(self, selection: Selection) -> int:
        # Which voxels have a label; of floats also what they are if rounded.
        beside = 1 + (self.base.dtype.itemsize if self.base.dtype.kind == "f" else 0)
        return super().cost(selection) + math.prod(selection.shape[1:]) * beside

    def compute(self, selection: Selection, parts: Sequence[Any]) -> NDArray:
        result = selection.empty(self.dtype)
        self.compute_into(result, selection, parts)
        return result

    def compute_into(self, result: NDArray, selection: Selection, parts: Sequence[Any]) -> None:
        labels = parts[0][0]
        low, high = labels.min(), labels.max()
        if not 0 <= low <= high < self.classes:
            raise UnsupportedError(
                f"the label map has labels from {low} to {high}, but num_classes={self.classes} "
                f"allows labels from 0 to {self.classes - 1} only: give a larger num_classes, or "
                "remap the labels",
                code="LABEL_WITHOUT_CLASS",
            )
        if labels.dtype.kind == "f" and (fractional := np.rint(labels) != labels).any():
            raise UnsupportedError(
                f"the label map has a label {float(labels[fractional].flat[0])}, but classes are "
                "whole numbers: round the label map, or resample the original as a vx.LabelMap, "
                "which makes no fractions",
                code="LABEL_WITHOUT_CLASS",
            )
        for channel, label in zip(result, selection.ranges[0], strict=True):
            if holds(labels.dtype, label):
                np.equal(labels, label, out=channel)
            else:
                channel[...] = 0
