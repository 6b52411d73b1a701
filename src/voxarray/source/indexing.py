"""A source as something that NumPy-like keys index: what dask and xarray read through."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core import settings
from voxarray.core.exhaustion import names_exhaustion
from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.base import Source

Piece = tuple[slice, range]
"""Where a run of voxels goes along one axis of the result, and which of the source they are."""


@dataclass(frozen=True, eq=False)
class SourceArray:
    """Duck array (C, W, H, D) over a source; every key is a read of exactly what it names.

    Keys are orthogonal: per axis an integer, a slice or a list of integers. Nothing is cached
    and nothing locked, for sources are safe to read from several threads.

    A copy in another process (a worker's) reads with the settings of the process that sent it.

    Attributes:
        source: What is read.
        settings: What is set where this was sent from; nothing for one that was made here.
        private: Whether what is read may be edited: voxels in memory are copied then.
    """

    source: Source
    settings: Mapping[str, Any] = field(default_factory=dict)
    private: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        sent = dict(self.settings) or settings.configured()
        return type(self), (self.source, sent, self.private)

    @property
    def shape(self) -> Shape4:
        """(C, W, H, D)."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype:
        """Type of the voxels."""
        return self.source.dtype

    @property
    def ndim(self) -> int:
        """Four."""
        return 4

    @names_exhaustion
    def __getitem__(self, key: Any) -> NDArray:
        items = key if isinstance(key, tuple) else (key,)
        items = (*items, *[slice(None)] * (4 - len(items)))
        axes = [list(_pieces(item, n)) for item, n in zip(items, self.shape, strict=True)]
        with settings.of_task(self.settings):
            voxels = self._read(axes)
        # An integer reads one voxel and then gives up its axis.
        squeeze = tuple(0 if isinstance(i, (int, np.integer)) else slice(None) for i in items)
        return voxels[squeeze]

    def _read(self, axes: list[list[Piece]]) -> NDArray:
        if all(len(pieces) == 1 for pieces in axes):
            c, w, h, d = (pieces[0][1] for pieces in axes)
            voxels = self.source.read(Selection((c, w, h, d)))
            return voxels.copy(order="K") if self.private else voxels
        nc, nw, nh, nd = (pieces[-1][0].stop if pieces else 0 for pieces in axes)
        # x fastest in memory, as sources hand it out.
        result = np.empty((nc, nd, nh, nw), self.dtype).transpose(0, 3, 2, 1)
        for pieces in itertools.product(*axes):
            (to_c, from_c), (to_w, from_w), (to_h, from_h), (to_d, from_d) = pieces
            selection = Selection((from_c, from_w, from_h, from_d))
            result[to_c, to_w, to_h, to_d] = self.source.read(selection)
        return result


def _pieces(item: Any, size: int) -> Iterator[Piece]:
    """Runs of evenly spaced voxels that make up the item, none if it is empty."""
    if isinstance(item, slice):
        selected = range(size)[item]
        if selected:
            yield slice(0, len(selected)), selected
        return
    indices = np.atleast_1d(np.asarray(item))
    if indices.dtype == bool:
        indices = np.flatnonzero(indices)
    # range(size)[...] refuses what lies outside, and wraps negative indices.
    chosen = [range(size)[int(n)] for n in indices]
    # Neighbours are read together; what lies between distant ones is not read at all.
    breaks = [0, *(n for n in range(1, len(chosen)) if chosen[n] != chosen[n - 1] + 1)]
    for start, stop in itertools.pairwise([*breaks, len(chosen)]):
        if start < stop:
            yield slice(start, stop), range(chosen[start], chosen[stop - 1] + 1)
