"""Connected components of volumes of any size.

Blocks are labelled one by one and joined where they touch. What is kept of a block is which of its
components belong to the one that is wanted: when voxels are read, the block is labelled again.
"""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.geometry.selection import Selection
from voxarray.ops.operation import Operation
from voxarray.source.base import Source
from voxarray.source.pieces import cuts

BLOCK = 64
"""Voxels along each side of a block."""

Index = tuple[int, int, int]
Components = tuple[tuple[Index, tuple[int, ...]], ...]


@dataclass(frozen=True, eq=False)
class LargestComponent(Operation):
    """1 in the largest object of voxels that are not 0 and share faces, 0 elsewhere.

    Attributes:
        components: Which components of which blocks make it up, as `largest_component` finds them.
        block: Voxels along each side of a block.
    """

    components: Components
    block: int = BLOCK

    @property
    def label_table(self) -> tuple[Any, ...]:
        """None: its 1 is no label of the base."""
        return ()

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint8)

    def needs(self, selection: Selection) -> tuple[Selection | None, ...]:
        return (self._blocks(selection),)

    def _blocks(self, selection: Selection) -> Selection:
        """All blocks that a selection touches."""
        edge, box = self.block, selection.bounding_box()
        x, y, z = (
            range(r.start // edge * edge, min(size, -(-r.stop // edge) * edge))
            for r, size in zip(box.spatial, self.shape[1:], strict=True)
        )
        return Selection((range(1), x, y, z))

    def cost(self, selection: Selection) -> int:
        return math.prod(self._blocks(selection).shape) * (self.base.dtype.itemsize + 6)

    def _cut(self, selection: Selection) -> Iterator[Selection]:
        """One part per block: in smaller ones it would be labelled again for each."""
        axes = [list(cuts(indices, self.block)) for indices in selection.spatial]
        for z, y, x in itertools.product(*reversed(axes)):
            yield Selection((range(len(selection.ranges[0])), x, y, z))

    def compute(self, selection: Selection, parts: Sequence[Any]) -> NDArray:
        read = self._blocks(selection)
        result = np.zeros(read.shape, np.uint8)
        by_block = dict(self.components)
        for index, slices in _blocks_of(read.spatial, self.block):
            if index in by_block:
                components, number = _labelled(parts[0][0][slices])
                chosen = np.zeros(number + 1, np.uint8)
                chosen[list(by_block[index])] = 1
                result[0][slices] = chosen[components]
        return result[selection.slices(read)]


def largest_component(source: Source, block: int = BLOCK) -> Components:
    """The largest object of voxels that are not 0 and share faces; of equals the first on disk.

    Args:
        source: Of one channel; read once, block by block.
        block: Voxels along each side of a block.

    Returns:
        Which components of which blocks make it up, for `LargestComponent`.
    """
    forest = _Forest()
    borders: dict[tuple[int, Index], NDArray[np.int64]] = {}
    volume = [range(size) for size in source.shape[1:]]
    for index, slices in _blocks_of(volume, block):
        ranges = [r[part] for r, part in zip(volume, slices, strict=True)]
        voxels = source.read(Selection((range(1), ranges[0], ranges[1], ranges[2])))[0]
        components, number = _labelled(voxels)
        near = [(axis, np.moveaxis(components, axis, 0)[0]) for axis in range(3) if index[axis]]
        far = [
            (axis, np.moveaxis(components, axis, 0)[-1])
            for axis in range(3)
            if ranges[axis].stop < source.shape[axis + 1]
        ]
        shared = _members([face for _, face in near + far])
        numbered = forest.add(
            index, _sizes(components, number), _firsts(components, ranges, source), shared
        )
        for axis, face in near:
            forest.join(borders.pop((axis, index)), numbered[face])
        for axis, face in far:
            after = list(index)
            after[axis] += 1
            borders[axis, (after[0], after[1], after[2])] = numbered[face]
    return forest.largest()


def _blocks_of(ranges: Sequence[range], block: int) -> Iterator[tuple[Index, tuple[slice, ...]]]:
    """Blocks in ranges that begin with one: index in the volume, and place in the ranges.

    x runs fastest, so that blocks come in the order of the disk.
    """
    counts = [range(r.start // block, -(-r.stop // block)) for r in ranges]
    for z, y, x in itertools.product(*reversed(counts)):
        slices = tuple(
            slice(n * block - r.start, min((n + 1) * block, r.stop) - r.start)
            for n, r in zip((x, y, z), ranges, strict=True)
        )
        yield (x, y, z), slices


def _labelled(voxels: NDArray) -> tuple[NDArray[np.int32], int]:
    """Components of voxels that share faces, numbered from 1, and how many there are."""
    from scipy.ndimage import label

    components, number = label(voxels != 0)
    return components, int(number)


def _members(faces: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    """Components on any of several faces, ascending."""
    found = np.unique(np.concatenate([np.zeros(1, np.int32), *(face.ravel() for face in faces)]))
    return found[1:]


def _sizes(components: NDArray[np.int32], number: int) -> NDArray[np.int64]:
    return np.bincount(components.ravel(), minlength=number + 1)[1:]


def _firsts(
    components: NDArray[np.int32], ranges: Sequence[range], source: Source
) -> NDArray[np.int64]:
    """Place on disk, in the whole volume, of the first voxel of each component."""
    flat = components.transpose(2, 1, 0).ravel()
    filled = np.flatnonzero(flat)[::-1]
    first = np.zeros(components.max(initial=0) + 1, np.int64)
    first[flat[filled]] = filled  # of several assignments the last one holds: the first voxel
    z, y, x = np.unravel_index(first[1:], components.shape[::-1])
    _, width, height, _ = source.shape
    return ((z + ranges[2].start) * height + y + ranges[1].start) * width + x + ranges[0].start


def _numbers() -> array[int]:
    return array("q", [0])


@dataclass(slots=True)
class _Forest:
    """Components that may go on in another block, numbered through from 1, and which are one.

    Noise has millions of components, most of which lie within a block: of these only the largest
    is remembered.
    """

    parents: array[int] = field(default_factory=_numbers)
    sizes: array[int] = field(default_factory=_numbers)
    firsts: array[int] = field(default_factory=_numbers)
    blocks: list[tuple[Index, int, NDArray[np.int32]]] = field(default_factory=list)
    inner: tuple[int, int, Index, int] | None = None
    """Size, first voxel (negative), block and number of the largest that lies within a block."""

    def add(
        self,
        index: Index,
        sizes: NDArray[np.int64],
        firsts: NDArray[np.int64],
        shared: NDArray[np.int32],
    ) -> NDArray[np.int64]:
        """Number the components of a block; returns the numbers by those in the block.

        Args:
            index: Of the block.
            sizes: (n,) voxels of each component.
            firsts: (n,) place on disk of the first voxel of each.
            shared: Components that touch another block; the others get the number 0.
        """
        start = len(self.parents)
        numbered = np.zeros(len(sizes) + 1, np.int64)
        numbered[shared] = np.arange(start, start + len(shared))
        if len(shared):
            self.blocks.append((index, start, shared))
            self.parents.extend(range(start, start + len(shared)))
            self.sizes.extend(sizes[shared - 1].tolist())
            self.firsts.extend(firsts[shared - 1].tolist())
        within = np.flatnonzero(numbered[1:] == 0)
        if len(within):
            largest = within[sizes[within] == sizes[within].max()]
            chosen = int(largest[firsts[largest].argmin()])
            found = int(sizes[chosen]), -int(firsts[chosen]), index, chosen + 1
            self.inner = found if self.inner is None else max(self.inner, found)
        return numbered

    def join(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
        """Make one of components that touch, on two faces that lie on one another."""
        touching = (first > 0) & (second > 0)
        pairs = np.unique(np.stack([first[touching], second[touching]]), axis=1)
        for a, b in pairs.T.tolist():
            self._union(self._root(a), self._root(b))

    def largest(self) -> Components:
        roots = (n for n in range(1, len(self.parents)) if self.parents[n] == n)
        chosen = max(roots, key=lambda n: (self.sizes[n], -self.firsts[n]), default=0)
        if self.inner is not None:
            size, first, block, component = self.inner
            if not chosen or (size, first) > (self.sizes[chosen], -self.firsts[chosen]):
                return ((block, (component,)),)
        result = []
        for index, start, shared in self.blocks:
            numbers = tuple(
                n for at, n in enumerate(shared.tolist()) if self._root(start + at) == chosen
            )
            if numbers:
                result.append((index, numbers))
        return tuple(result)

    def _root(self, n: int) -> int:
        while self.parents[n] != n:
            self.parents[n] = n = self.parents[self.parents[n]]
        return n

    def _union(self, a: int, b: int) -> None:
        if a == b:
            return
        if self.sizes[a] < self.sizes[b]:
            a, b = b, a
        self.parents[b] = a
        self.sizes[a] += self.sizes[b]
        self.firsts[a] = min(self.firsts[a], self.firsts[b])
