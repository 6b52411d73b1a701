"""Sources that show the voxels of another one as they are, only in other places."""

from __future__ import annotations

import numpy as np

from voxarray.core.scaling import Scaling
from voxarray.source.base import Channels, OriginalHeader, Source


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
