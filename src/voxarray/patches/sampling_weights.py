"""Where the voxels lie that a sampler may take: cells by counts, voxels by reading a cell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from voxarray.archive.source import ArchiveSource
from voxarray.core.errors import OutOfRangeError, UnsupportedError
from voxarray.counting.cells import Box, CellCounts, Cells, CellSums
from voxarray.geometry.selection import Selection
from voxarray.source.sliced import SlicedSource
from voxarray.statistics.cache import cached
from voxarray.statistics.cell_passes import count_cells, sum_cells

_TOLD = 20
"""Labels that a message names."""


@dataclass(frozen=True, eq=False)
class SamplingWeights(ABC):
    """How much each voxel of an image counts, known cell by cell.

    Attributes:
        source: The image.
        channel: Which of its channels.
        cells: The cells.
        numbers: Those that hold any mass, ascending.
        masses: How much each of them holds.
    """

    source: SlicedSource
    channel: int
    cells: Cells
    numbers: NDArray[np.int64]
    masses: NDArray[np.float64]

    @abstractmethod
    def weigh(self, voxels: NDArray) -> NDArray:
        """Mass of each of these voxels: numbers of at least 0, or booleans."""

    @property
    @abstractmethod
    def requirement(self) -> str:
        """What a voxel must have to count, for messages."""

    @property
    @abstractmethod
    def contents(self) -> str:
        """What the voxels have instead if none counts, for messages."""

    @property
    def is_stored(self) -> bool:
        """Whether the voxels are read from an archive, not computed."""
        return isinstance(self.source.base, ArchiveSource)

    def read(self, box: Box) -> NDArray:
        """Mass of each voxel in a box (W, H, D)."""
        channels = range(self.channel, self.channel + 1)
        return self.weigh(self.source.read(Selection((channels, *box)))[0])


@dataclass(frozen=True, eq=False)
class LabelMass(SamplingWeights):
    """One for each voxel of a label.

    Attributes:
        label: The label; None for all above 0.
    """

    label: int | None

    @classmethod
    def of(cls, source: SlicedSource, label: int | None) -> Self:
        """Mass of a label in the first channel; reads voxels if nobody has counted them.

        Raises:
            UnsupportedError: If the image is no label map (``NO_LABELS``).
        """
        counts = label_counts(source)
        cells, voxel_counts = counts.positive(0) if label is None else counts.of(0, label)
        return cls(source, 0, counts.cells, cells, voxel_counts.astype(np.float64), label)

    @property
    def requirement(self) -> str:
        return "no label above 0" if self.label is None else f"no label {self.label}"

    @property
    def contents(self) -> str:
        values = label_counts(self.source).values(0).tolist()  # counted already
        more = f" and {len(values) - _TOLD} more" if len(values) > _TOLD else ""
        return f"only {', '.join(map(str, values[:_TOLD]))}{more}"

    def weigh(self, voxels: NDArray) -> NDArray:
        return voxels > 0 if self.label is None else voxels == self.label


@dataclass(frozen=True, eq=False)
class WeightMass(SamplingWeights):
    """What the voxel says: a map of probabilities, which need not add up to one."""

    @classmethod
    def of(cls, source: SlicedSource, channel: int) -> Self:
        """Mass of a channel; reads voxels if nobody has added them up.

        Raises:
            OutOfRangeError: If there is no such channel.
            UnsupportedError: If voxels are negative or not finite (``BAD_WEIGHTS``).
        """
        if not 0 <= channel < source.shape[0]:
            raise OutOfRangeError(
                f"there is no channel {channel} in a map of {source.shape[0]} channels: if a map "
                "has several channels, the keys of label_probabilities are channels, not labels"
            )
        weights = cached(f"sums of {channel}", (source,), lambda: _summed(source, channel))
        numbers = np.flatnonzero(weights.sums)
        return cls(source, channel, weights.cells, numbers, weights.sums[numbers])

    @property
    def requirement(self) -> str:
        return f"no value above 0 in channel {self.channel}"

    @property
    def contents(self) -> str:
        return "only 0"

    def weigh(self, voxels: NDArray) -> NDArray:
        return voxels.astype(np.float64)


def label_counts(source: SlicedSource) -> CellCounts:
    """How often each label occurs in each cell: as the archive says, else counted once.

    Raises:
        UnsupportedError: If the image is no label map (``NO_LABELS``).
    """
    return cached("labels", (source,), lambda: _stored(source) or count_cells(source))


def require_one_channel(source: SlicedSource, name: str) -> None:
    """Raise UnsupportedError unless a map of probabilities has one channel."""
    if source.shape[0] != 1:
        raise UnsupportedError(
            f"the probability map {name!r} has {source.shape[0]} channels: expected one; take one "
            "of them, image[channel : channel + 1, :, :, :]",
            code="SEVERAL_CHANNELS",
        )


def _summed(source: SlicedSource, channel: int) -> CellSums:
    base = _archive(source)
    sums = None if base is None else base.weight_sums(channel)
    if sums is not None:
        return sums
    counts = None if base is None else base.label_counts
    if counts is None or (counts.table[:, 2] < 0).any():  # the pass will say what is wrong
        return sum_cells(source, channel)
    return CellSums(counts.cells, counts.sums(channel))


def _stored(source: SlicedSource) -> CellCounts | None:
    base = _archive(source)
    return None if base is None else base.label_counts


def _archive(source: SlicedSource) -> ArchiveSource | None:
    """The archive that all of this is."""
    base = source.base
    return base if source.is_whole and isinstance(base, ArchiveSource) else None
