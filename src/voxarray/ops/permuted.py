"""Spatial axes in another order: a view, as free as a slice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.base import Source, digest
from voxarray.source.sliced import SlicedSource
from voxarray.source.view import SourceView


@dataclass(frozen=True, eq=False)
class Permuted(SourceView):
    """The voxels of a source with W, H and D exchanged; the voxels stay where they are.

    Attributes:
        base: What is read.
        axes: For each of the new axes W, H, D, which axis of the base it was: 0, 1 or 2.
    """

    base: Source
    axes: tuple[int, int, int]

    @property
    def shape(self) -> Shape4:
        return self._permuted(self.base.shape)

    @property
    def chunks(self) -> Shape4:
        return self._permuted(self.base.chunks)

    @property
    def affine(self) -> NDArray[np.float64]:
        return self.base.grid.permute(self.axes).affine

    @property
    def slow_axes(self) -> tuple[int, int, int]:
        first, second, third = (self.axes.index(axis) for axis in self.base.slow_axes)
        return first, second, third

    def read(self, selection: Selection) -> NDArray:
        voxels = self.base.read(self._of_base(selection))
        return voxels.transpose(0, *(axis + 1 for axis in self.axes))

    def read_into(self, selection: Selection, out: NDArray) -> None:
        back = (self.axes.index(axis) + 1 for axis in range(3))
        self.base.read_into(self._of_base(selection), out.transpose(0, *back))

    def unscaled(self) -> Source:
        return replace(self, base=self.base.unscaled())

    def token(self) -> str:
        return digest("permuted", self.base.token(), self.axes)

    def _of_base(self, selection: Selection) -> Selection:
        channels, *spatial = selection.ranges
        x, y, z = (spatial[self.axes.index(axis)] for axis in range(3))
        return Selection((channels, x, y, z))

    def _permuted(self, sizes: Shape4) -> Shape4:
        w, h, d = (sizes[axis + 1] for axis in self.axes)
        return sizes[0], w, h, d


def reoriented(source: SlicedSource, codes: str) -> SlicedSource:
    """The voxels with axes that run towards ``codes``, such as ``"RAS"``; nothing is read."""
    axes, flipped = source.grid.reorientation(codes)
    permuted = source if axes == (0, 1, 2) else SlicedSource.of(Permuted(source, axes))
    return flip(permuted, flipped)


def flip(source: SlicedSource, axes: tuple[int, ...]) -> SlicedSource:
    """The voxels with some of the axes W, H, D (0, 1, 2) reversed, in their places."""
    slices = [slice(None, None, -1 if axis in axes else 1) for axis in range(3)]
    return source[tuple(slices)]
