"""Masks, and what they choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.exact_values import held_by
from voxarray.geometry.selection import Selection, Shape4
from voxarray.ops.operation import Operation
from voxarray.ops.pointwise import Pointwise
from voxarray.source.base import Source, digest


@dataclass(frozen=True, eq=False)
class Box(Source):
    """A mask of one channel: 1 in a box, 0 around it.

    Attributes:
        grid_shape: (W, H, D) of the mask.
        affine: (4, 4) voxel index to RAS+ mm.
        bounds: First voxel, and the one after the last, along W, H and D.
    """

    grid_shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    bounds: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

    @property
    def shape(self) -> Shape4:
        return 1, *self.grid_shape

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint8)

    @property
    def chunks(self) -> Shape4:
        return self.shape

    def read(self, selection: Selection) -> NDArray:
        within = [
            (np.asarray(indices) >= first) & (np.asarray(indices) < stop)
            for indices, (first, stop) in zip(selection.spatial, self.bounds, strict=True)
        ]
        box = within[0][:, None, None] & within[1][:, None] & within[2]
        return np.broadcast_to(box.astype(np.uint8), selection.shape)

    def token(self) -> str:
        return digest("box", self.grid_shape, self.affine, self.bounds)


@dataclass(frozen=True, eq=False)
class AnyOf(Pointwise):
    """A mask: 1 where a label map has one of several labels.

    Attributes:
        labels: Those that count.
    """

    ascends = False

    labels: tuple[float, ...]

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint8)

    def function(self, values: NDArray) -> NDArray:
        mask: NDArray = np.isin(values, held_by(values.dtype, self.labels))
        return mask


@dataclass(frozen=True, eq=False)
class Chosen(Operation):
    """Voxels of one source where a mask is not 0, and of another or a constant elsewhere.

    Attributes:
        mask: On the same grid, with one channel or as many.
        outside: A source of the same shape and type as the base, or a value of that type.
    """

    mask: Source
    outside: Source | float

    @property
    def label_table(self) -> tuple[Any, ...]:
        """What the sources do not name differently."""
        table = self.base.label_table
        if not isinstance(self.outside, Source):
            return table
        by_value = {label.value: {label} for label in table}
        for label in self.outside.label_table:
            by_value.setdefault(label.value, set()).add(label)
        return tuple(entry for _, (entry, *conflicts) in sorted(by_value.items()) if not conflicts)

    @property
    def keeps_intensities(self) -> bool:
        return True

    def needs(self, selection: Selection) -> tuple[Selection | None, ...]:
        channels, *spatial = selection.ranges
        if self.mask.shape[0] == 1:
            channels = range(1)
        mask = Selection((channels, spatial[0], spatial[1], spatial[2]))
        return (selection, mask, selection)[: len(self.inputs)]

    def compute(self, selection: Selection, parts: Sequence[Any]) -> NDArray:
        voxels, mask = parts[:2]
        outside = parts[2] if isinstance(self.outside, Source) else self.dtype.type(self.outside)
        result: NDArray = np.empty_like(voxels)
        result[...] = voxels
        np.copyto(result, outside, where=mask == 0)
        return result
