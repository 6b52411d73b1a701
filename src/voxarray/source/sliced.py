"""A source seen through a selection: what a slice of an image is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.history import Entry, History, entry
from voxarray.geometry.grid import checked_affine
from voxarray.geometry.selection import Selection, Shape4, matrix
from voxarray.source.base import Channels, OriginalHeader, Source, digest
from voxarray.source.view import SourceView
from voxarray.source.volume_values import chosen_metadata


@dataclass(frozen=True, eq=False)
class SlicedSource(SourceView):
    """Part of a source, or all of it under another affine; slices of slices compose into one.

    Attributes:
        base: The source that is read; never a sliced one.
        selection: Voxels of ``base``.
        affine: (4, 4) of the selected voxels.
        history: Operations that made what is shown, slices of what has a history included.
    """

    base: Source
    selection: Selection
    affine: NDArray[np.float64]
    history: History = ()

    @classmethod
    def of(cls, source: Source) -> SlicedSource:
        """All of a source, or the sliced source itself."""
        if isinstance(source, SlicedSource):
            return source
        return cls(source, Selection.whole(source.shape), source.affine, source.history)

    @staticmethod
    def base_of(source: Source) -> Source:
        """The source of which a source is a slice, or that source itself."""
        return source.base if isinstance(source, SlicedSource) else source

    def __getitem__(self, key: Any) -> SlicedSource:
        return self.take(Selection.whole(self.shape)[key])

    def take(self, selection: Selection) -> SlicedSource:
        """A further slice: ``selection`` of what this one shows; nothing is read."""
        if selection.is_all_of(self.shape):
            return self
        affine = checked_affine(self.affine @ matrix(selection.spatial))
        ranges = [[r.start, r.stop, r.step] for r in selection]
        history = (*self.history, entry("slice", {"ranges": ranges}))
        return SlicedSource(self.base, self.selection.compose(selection), affine, history)

    def with_affine(self, affine: NDArray[np.float64]) -> SlicedSource:
        """The same voxels, placed elsewhere in the world."""
        if np.array_equal(affine, self.affine):
            return self
        moved = replace(self, affine=checked_affine(affine))
        return moved.recorded(entry("set_affine", {"affine": moved.affine.tolist()}))

    def recorded(self, *entries: Entry) -> SlicedSource:
        """The same voxels, with more operations in their history."""
        return replace(self, history=(*self.history, *entries))

    @property
    def is_whole(self) -> bool:
        """Whether every voxel of the base is shown, in its order."""
        return self.selection == Selection.whole(self.base.shape)

    @property
    def shape(self) -> Shape4:
        return self.selection.shape

    @property
    def chunks(self) -> Shape4:
        c, w, h, d = (
            max(1, min(len(r), chunk // abs(r.step)))
            for r, chunk in zip(self.selection, self.base.chunks, strict=True)
        )
        return c, w, h, d

    @property
    def channels(self) -> Channels:
        selected, channels = self.selection.ranges[0], self.base.channels
        # Backwards in time, volumes have a negative step, which no format holds: then it is
        # unknown. Backwards twice is forwards.
        return replace(channels, step=channels.step * max(0, selected.step))

    @property
    def path(self) -> str | None:
        return self.base.path

    @property
    def nifti_header(self) -> bytes | None:
        same = self.is_whole and np.array_equal(self.affine, self.base.affine)
        return self.base.nifti_header if same else None

    @property
    def original_header(self) -> OriginalHeader | None:
        origin = self.base.original_header
        if origin is None:
            return None
        selected = self.base.affine @ matrix(self.selection.spatial)
        reversed_axes = _reversed_axes(selected, self.affine)
        if not _covers_the_same(selected, self.affine, self.shape[1:], reversed_axes):
            # Who set the affine knows the space; the header does not.
            return replace(origin, same_space=False)
        if not reversed_axes:
            return origin
        return replace(origin, moved_axes=(*origin.moved_axes, *reversed_axes))

    @property
    def metadata(self) -> Mapping[str, Any]:
        base = self.base
        return chosen_metadata(base.metadata, self.selection.ranges[0], base.shape[0])

    @property
    def levels(self) -> int:
        # Voxels of a slice may have no counterpart in a coarser level.
        return self.base.levels if self.is_whole else 1

    def level(self, number: int) -> SlicedSource:
        if not self.is_whole:
            return self if number == 0 else self.of(super().level(number))
        level = replace(SlicedSource.of(self.base.level(number)), history=self.history)
        if number:
            level = level.recorded(entry("level", {"number": number}))
        if np.array_equal(self.affine, self.base.affine):
            return level
        # The affine may have been set: a level stays where it is relative to the full resolution.
        moved = self.affine @ np.linalg.solve(self.base.affine, level.affine)
        return replace(level, affine=checked_affine(moved))

    def read(self, selection: Selection) -> NDArray:
        return self.base.read(self.selection.compose(selection))

    def read_into(self, selection: Selection, out: NDArray) -> None:
        self.base.read_into(self.selection.compose(selection), out)

    def stream(self) -> Any:
        return self.base.stream() if self.is_whole else super().stream()

    def unscaled(self) -> SlicedSource:
        return replace(self, base=self.base.unscaled())

    def token(self) -> str:
        return digest("window", self.base.token(), self.selection.ranges, self.affine)


def _reversed_axes(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[int, ...]:
    """Axes that run one way by an affine and the other way by another."""
    return tuple(axis for axis in range(3) if first[:3, axis] @ second[:3, axis] < 0)


def _covers_the_same(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    sizes: tuple[int, ...],
    reversed_axes: tuple[int, ...],
) -> bool:
    """Whether two affines differ at most in which end of an axis is its first.

    The transform Flip reverses voxels and keeps the affine.
    """
    turned = first.copy()
    for axis in reversed_axes:
        turned[:3, 3] += first[:3, axis] * (sizes[axis] - 1)
        turned[:3, axis] *= -1
    return bool(np.allclose(turned, second, rtol=1e-9, atol=1e-9 * np.abs(second).max()))
