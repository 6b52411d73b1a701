"""Sources whose voxels are made while they are written: once, in disk order."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import StateError
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.base import Source

_PLANES = 64


class OnePass(Source):
    """What all predictions have in common before they are there."""

    @property
    @abstractmethod
    def native(self) -> Grid:
        """Grid of the result."""

    @property
    @abstractmethod
    def working_bytes(self) -> int:
        """Bytes of RAM that making the voxels needs."""

    @property
    def affine(self) -> NDArray[np.float64]:
        return self.native.affine

    @property
    def chunks(self) -> Shape4:
        _, w, h, d = self.shape
        return 1, w, h, min(d, _PLANES)

    @property
    def lazy(self) -> bool:
        return True

    @property
    def streaming_bytes(self) -> int:
        return self.working_bytes

    @property
    def reading_bytes(self) -> int:
        return self.working_bytes

    def read(self, selection: Selection) -> NDArray:  # noqa: ARG002
        raise StateError(
            "a prediction is made in one pass, from the first slice to the last, so no part of it "
            "can be read alone: save the prediction (as .ome.zarr or .nii.gz), and read the part "
            "from there",
            code="ONE_PASS",
        )
