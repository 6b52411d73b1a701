"""Sources that stand for another one: its voxels in other places, or its facts without voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import StateError
from voxarray.core.scaling import Scaling
from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.base import Channels, OriginalHeader, Source, digest


class SourceView(Source):
    """What every view of ``base`` has from it.

    Attributes:
        base: The source that is read.
    """

    base: Source

    @property
    def dtype(self) -> np.dtype:
        return self.base.dtype

    @property
    def channels(self) -> Channels:
        return self.base.channels

    @property
    def scaling(self) -> Scaling | None:
        return self.base.scaling

    @property
    def original_header(self) -> OriginalHeader | None:
        return self.base.original_header

    @property
    def label_table(self) -> tuple[Any, ...]:
        return self.base.label_table

    @property
    def lazy(self) -> bool:
        return self.base.lazy

    @property
    def inputs(self) -> tuple[Source, ...]:
        return self.base.inputs

    @property
    def slow_axes(self) -> tuple[int, int, int]:
        return self.base.slow_axes

    @property
    def reading_bytes(self) -> int:
        return self.base.reading_bytes

    @property
    def streaming_bytes(self) -> int:
        return self.base.streaming_bytes


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
        raise StateError(
            f"this object holds only the header of an image, so {selection} cannot be read: open "
            "the file for its voxels",
            code="EMPTY",
        )

    def token(self) -> str:
        return digest("absent", self.shape, self.dtype.name, self.affine)
