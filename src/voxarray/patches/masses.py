"""Where the voxels lie that a sampler may take: per cell from counts, per voxel by reading a cell."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from voxarray.errors import OutOfRangeError, UnsupportedError
from voxarray.selection import Selection
from voxarray.sources.archive import ArchiveSource
from voxarray.sources.window import Window
from voxarray.statistics.cells import Box, CellCounts, Cells, CellSums, count_cells, sum_cells

_KEPT = 256
"""Tables of this many images are kept per process."""

_lock = threading.Lock()
_tables: OrderedDict[tuple[str, str], object] = OrderedDict()
Table = TypeVar("Table")


@dataclass(frozen=True, eq=False)
class Mass(ABC):
    """How much each voxel of an image counts, known cell by cell.

    Attributes:
        source: The image.
        channel: Which of its channels.
    """

    source: Window
    channel: int

    @property
    @abstractmethod
    def cells(self) -> Cells:
        """The cells of the image."""

    @abstractmethod
    def per_cell(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Cells that hold any mass, ascending, and how much; reads no voxels if it was counted."""

    @abstractmethod
    def weigh(self, voxels: NDArray) -> NDArray:
        """Mass of each of these voxels: numbers of at least 0, or booleans."""

    def read(self, box: Box) -> NDArray:
        """Mass of each voxel in a box (W, H, D)."""
        channels = range(self.channel, self.channel + 1)
        return self.weigh(self.source.read(Selection((channels, *box)))[0])


@dataclass(frozen=True, eq=False)
class LabelMass(Mass):
    """One for each voxel of a label.

    Attributes:
        label: The label; None for all above 0.
    """

    label: int | None

    @property
    def cells(self) -> Cells:
        return label_counts(self.source).cells

    def per_cell(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        counts = label_counts(self.source)
        if self.label is None:
            cells, found = counts.positive(self.channel)
        else:
            cells, found = counts.of(self.channel, self.label)
        return cells, found.astype(np.float64)

    def weigh(self, voxels: NDArray) -> NDArray:
        return voxels > 0 if self.label is None else voxels == self.label


@dataclass(frozen=True, eq=False)
class WeightMass(Mass):
    """What the voxel says: a map of probabilities, which need not add up to one."""

    @property
    def cells(self) -> Cells:
        return self._sums().cells

    def per_cell(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        sums = self._sums().sums
        found = np.flatnonzero(sums)
        return found, sums[found]

    def weigh(self, voxels: NDArray) -> NDArray:
        return voxels.astype(np.float64)

    def _sums(self) -> CellSums:
        return _once(f"sums of {self.channel}", self.source, self._summed)

    def _summed(self) -> CellSums:
        counts = _stored(self.source)
        if counts is None or (counts.table[:, 2] < 0).any():  # the pass will say what is wrong
            return sum_cells(self.source, self.channel)
        return CellSums(counts.cells, counts.sums(self.channel))


def label_counts(source: Window) -> CellCounts:
    """How often each label occurs in each cell: as the archive says, else counted once.

    Raises:
        UnsupportedError: If the image is no label map (``NO_LABELS``).
    """
    return _once("labels", source, lambda: _stored(source) or count_cells(source))


def require_channel(source: Window, channel: int) -> None:
    """Raise OutOfRangeError unless an image has a channel of this number."""
    if not 0 <= channel < source.shape[0]:
        raise OutOfRangeError(
            f"there is no channel {channel} in a map of {source.shape[0]}: with several channels, "
            "label_probabilities name channels"
        )


def require_one_channel(source: Window, name: str) -> None:
    """Raise UnsupportedError unless a map of probabilities has one channel."""
    if source.shape[0] != 1:
        raise UnsupportedError(
            f"the probability map {name!r} has {source.shape[0]} channels, and one is expected: "
            "take one of them, image[channel : channel + 1, :, :, :]",
            code="SEVERAL_CHANNELS",
        )


def _stored(source: Window) -> CellCounts | None:
    base = source.base
    return base.label_counts if source.is_whole and isinstance(base, ArchiveSource) else None


def _once(what: str, source: Window, make: Callable[[], Table]) -> Table:
    """A table of a source, made when it is first needed in this process."""
    key = (what, source.token())
    with _lock:
        if key in _tables:
            _tables.move_to_end(key)
            return _tables[key]  # type: ignore[return-value]  # made below, by the same `make`
    table = make()
    with _lock:
        _tables[key] = table
        while len(_tables) > _KEPT:
            _tables.popitem(last=False)
    return table


def _renew_lock_in_child() -> None:
    # Another thread may have held the lock at the moment of the fork.
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock_in_child)
