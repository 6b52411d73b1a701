"""What a `GridAggregator` has summed, as a source: read by views, divided by its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.core.promotion import cast
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Selection, Shape3, Shape4
from voxarray.patches.accumulator import Accumulator
from voxarray.source.base import OriginalHeader, Source, digest

_PIECE = 1 << 20
"""Voxels that are divided at once."""


@dataclass(frozen=True, eq=False)
class Aggregated(Source):
    """Sums of patches, divided by their weights, as a source.

    Attributes:
        sums: Over the padded volume.
        before: Voxels of its border (W, H, D), which are left out.
        grid_of_output: Where the voxels are.
        weights: Along W, H and D: their product is the weight of a voxel. None to leave sums.
        origin: Header of the file that the patches come from.
    """

    sums: Accumulator
    before: Shape3
    grid_of_output: Grid
    weights: Sequence[NDArray] | None
    origin: OriginalHeader | None = None

    @property
    def shape(self) -> Shape4:
        return (len(self.sums.voxels), *self.grid_of_output.shape)

    @property
    def dtype(self) -> np.dtype:
        return self.sums.voxels.dtype

    @property
    def affine(self) -> NDArray[np.float64]:
        return self.grid_of_output.affine

    @property
    def chunks(self) -> Shape4:
        _, w, h, d = self.shape
        return 1, w, h, max(1, min(d, (1 << 22) // (w * h)))

    @property
    def original_header(self) -> OriginalHeader | None:
        return self.origin

    def read(self, selection: Selection) -> NDArray:
        out = selection.empty(self.dtype)
        self.read_into(selection, out)
        return out

    def read_into(self, selection: Selection, out: NDArray) -> None:
        # A few planes at a time: temporaries stay small, and so does what is touched of a file.
        c, w, h, d = selection.shape
        channels, x, y, z = selection.ranges
        planes = max(1, _PIECE // max(1, c * w * h))
        for first in range(0, d, planes):
            z_slice = slice(first, first + planes)
            part = Selection((channels, x, y, z[z_slice]))
            cast(self._means(part), out[..., z_slice])

    def _means(self, selection: Selection) -> NDArray:
        """Voxels of a few planes: a view of the sums where nothing is to be divided."""
        box = selection.bounding_box()
        slices = selection.slices(box)
        spatial = [
            range(r.start + b, r.stop + b) for r, b in zip(box.spatial, self.before, strict=True)
        ]
        channels = slice(box.ranges[0].start, box.ranges[0].stop)
        sums: NDArray = self.sums.region(spatial)[channels][slices]
        if self.weights is None:
            return sums
        x, y, z = (
            weights[r.start : r.stop][part]
            for weights, r, part in zip(self.weights, box.spatial, slices[1:], strict=True)
        )
        means: NDArray = sums / (x[:, None, None] * y[:, None] * z).astype(sums.dtype)
        return means

    def token(self) -> str:
        return digest("aggregated", id(self.sums))
