"""What is known of a source without its voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import StateError
from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.base import Channels, Source, digest


@dataclass(frozen=True, eq=False)
class HeaderOnlySource(Source):
    """Everything but the voxels: these come from elsewhere, or are not there yet."""

    shape: Shape4
    dtype: np.dtype
    affine: NDArray[np.float64]
    chunks: Shape4
    channels: Channels = Channels()

    @classmethod
    def of(cls, source: Source, chunks: Shape4 | None = None) -> HeaderOnlySource:
        """The facts of a source.

        Args:
            source: Whose voxels are absent.
            chunks: Other ones than the source's own.
        """
        return cls(
            source.shape, source.dtype, source.affine, chunks or source.chunks, source.channels
        )

    def read(self, selection: Selection) -> NDArray:
        raise StateError(f"the voxels are not here: {selection} cannot be read", code="EMPTY")

    def token(self) -> str:
        return digest("absent", self.shape, self.dtype.name, self.affine)
