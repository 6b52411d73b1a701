"""The borders of an object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.geometry.selection import Selection
from voxarray.ops.operation import Operation


@dataclass(frozen=True, eq=False)
class Contour(Operation):
    """Voxels of value 1 become 0, unless a face of theirs touches another value.

    Other values stay. What lies beyond the volume touches nothing.
    """

    def needs(self, selection: Selection) -> tuple[Selection | None, ...]:
        return (self._around(selection),)

    def _around(self, selection: Selection) -> Selection:
        box = selection.bounding_box()
        x, y, z = (
            range(max(0, r.start - 1), min(size, r.stop + 1))
            for r, size in zip(box.spatial, self.shape[1:], strict=True)
        )
        return Selection((selection.ranges[0], x, y, z))

    def compute(self, selection: Selection, parts: Sequence[Any]) -> NDArray:
        voxels = parts[0]
        mask = voxels == 1
        inner = mask.copy()
        for axis in (1, 2, 3):
            near, far = [slice(None)] * 4, [slice(None)] * 4
            near[axis], far[axis] = slice(None, -1), slice(1, None)
            inner[tuple(near)] &= mask[tuple(far)]
            inner[tuple(far)] &= mask[tuple(near)]
        part = self._around(selection)
        central = Selection((range(len(part.ranges[0])), *selection.spatial))
        offset = Selection((range(1), *part.spatial))
        result: NDArray = np.where(inner, voxels.dtype.type(0), voxels)[central.slices(offset)]
        return result
