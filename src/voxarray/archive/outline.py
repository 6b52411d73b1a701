"""What is decided of an archive first: types, chunks and shards. That tells what it will cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxarray.archive.chunk_statistics import LabelTally, WeightTally
from voxarray.archive.metadata import Kind
from voxarray.archive.options import Options
from voxarray.archive.projection import layouts_of, peak_of, usual_block
from voxarray.archive.voxel_encoding import VoxelEncoding, encoding_of
from voxarray.core import settings
from voxarray.core.errors import FormatError
from voxarray.geometry.layout import Factors, Layout, chunk_bytes
from voxarray.source.base import Source
from voxarray.source.storable import refuse_beyond_disks


@dataclass(frozen=True, slots=True)
class Outline:
    """How the voxels of an image are stored.

    Attributes:
        storage: Which voxels are read, and how they are stored.
        kind: What they are.
        layouts: Of every level, finest first.
        factors: Of every level but the first, from the one above it.
    """

    storage: VoxelEncoding
    kind: Kind
    layouts: list[Layout]
    factors: tuple[Factors, ...]

    @classmethod
    def of(
        cls, source: Source, kind: Kind, options: Options, factors: Sequence[Factors] | None = None
    ) -> Outline:
        """Outline the archive of a source; reads no voxels.

        Args:
            source: The image.
            kind: What its voxels are.
            options: How it is archived.
            factors: For a label map, the factors of the image that it belongs to.

        Raises:
            UnsupportedError: No disk could hold the image (``TOO_LARGE``).
            FormatError: No reader would take so large chunks (``BAD_CHUNK``).
        """
        refuse_beyond_disks(source)
        storage = encoding_of(source)
        layouts, factors = layouts_of(storage, options, factors)
        _refuse_unreadable(layouts[0], storage.dtype)
        return cls(storage, kind, layouts, factors)

    @property
    def usual_peak(self) -> int:
        """Bytes at the peak of writing where the budget is no smaller than that."""
        block = usual_block(self.storage.source, self.layouts[0])
        return peak_of(self.storage, self.layouts, block)

    def tally(self) -> LabelTally | WeightTally | None:
        """Counter of labels or weights while writing; None for stored numbers with a scaling."""
        storage, layout = self.storage, self.layouts[0]
        if storage.kept:
            return None
        if self.kind == "label":
            return LabelTally(layout) if storage.dtype.kind in "iuf" else None
        return WeightTally(layout) if storage.dtype.kind == "f" else None


def _refuse_unreadable(layout: Layout, dtype: np.dtype) -> None:
    """Refuse chunks that exceed the reader's limit (``BOMB``)."""
    size, limit = chunk_bytes(layout, dtype), settings.get_bytes("chunk-limit")
    if size > limit:
        raise FormatError(
            f"chunks of {layout.chunk} {dtype} voxels have {size} bytes, and readers take no more "
            f"than {limit} (setting voxarray.chunk-limit): use smaller chunks (chunks=, --chunk)",
            code="BAD_CHUNK",
        )
