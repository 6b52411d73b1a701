"""Which voxels of which lattice: the exact integer arithmetic behind `AffineIndex`.

A `Lattice` is fixed once, when an image is opened; whatever is selected of it later is three
ranges of integers, a `Placement`. So a chain of slices, reversals, joins and concatenations
accumulates no rounding, and an untouched image keeps its affine to the last bit. With

    world = W @ (spacing * index + origin)

``W`` (directions) never changes, and `origin`, `spacing` and positions are millimetres along
each voxel axis. numpy only; xarray is spoken to in `affine_index`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import GridError, OutOfRangeError
from voxarray.geometry.grid import SAME_GRID_TOLERANCE, Grid, checked_affine
from voxarray.geometry.selection import Shape3, matrix

DIMS = ("x", "y", "z")

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """Voxel positions without an end.

    Attributes:
        affine: (4, 4) index to RAS+ mm.
        world: (4, 4) ``W``: unit directions of the voxel axes, no translation. Shear is kept.
        spacing: Millimetres between neighbours along each axis, positive.
        origin: Millimetres along each axis of index (0, 0, 0).
    """

    affine: Matrix
    world: Matrix
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]

    @classmethod
    def of_affine(cls, affine: Any) -> Lattice:
        """The lattice of an affine, which is kept as it is."""
        return cls.of_grid(Grid((1, 1, 1), affine))

    @classmethod
    def of_grid(cls, grid: Grid) -> Lattice:
        """The lattice that holds the voxels of a grid."""
        world = np.eye(4)
        world[:3, :3] = grid.direction
        return cls(grid.affine, checked_affine(world), grid.spacing, grid.intrinsic_origin)

    @classmethod
    def of_axes(cls, world: Any, origin: Sequence[float], spacing: Sequence[float]) -> Lattice:
        """The lattice that positions along the axes of ``world`` say."""
        W = checked_affine(world)
        scale = np.diag([*spacing, 1.0])
        scale[:3, 3] = origin
        (x, y, z), (u, v, w) = map(float, origin), map(float, spacing)
        return cls(checked_affine(W @ scale), W, (u, v, w), (x, y, z))


@dataclass(frozen=True, slots=True)
class Axis:
    """Voxels taken along one axis of a lattice.

    Attributes:
        indices: Their indices. A range of one voxel still has a step: the slice thickness.
        dropped: Whether an integer index took the dimension away.
    """

    indices: range
    dropped: bool = False

    @property
    def size(self) -> int:
        """Number of voxels."""
        return len(self.indices)

    def take(self, key: Any) -> Axis | None:
        """Voxels that remain after ``[key]``: a slice, an integer, a mask or a list.

        Returns:
            None if they are not evenly spaced, so are no axis of a grid.

        Raises:
            OutOfRangeError: If an index lies outside.
        """
        if isinstance(key, slice):
            return replace(self, indices=self.indices[key])
        chosen = np.asarray(key)
        if chosen.ndim > 1:
            return None
        if chosen.dtype == bool:
            chosen = np.flatnonzero(chosen)
        positions = self._wrapped(np.atleast_1d(chosen))
        steps = np.diff(positions)
        if steps.size and (steps[0] == 0 or (steps != steps[0]).any()):
            return None
        step = int(steps[0]) if steps.size else 1
        start = int(positions[0]) if positions.size else 0
        inner = range(start, start + step * len(positions), step)
        return Axis(_compose(self.indices, inner), dropped=chosen.ndim == 0)

    def _wrapped(self, positions: NDArray) -> NDArray:
        outside = (positions < -self.size) | (positions >= self.size)
        if outside.any():
            raise OutOfRangeError(
                f"index {positions[outside][0]} is out of range for an axis of size {self.size}"
            )
        return np.where(positions < 0, positions + self.size, positions)


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Voxels of a lattice, as three ranges.

    Attributes:
        lattice: What the ranges index.
        axes: Voxels along x, y and z.
    """

    lattice: Lattice
    axes: tuple[Axis, Axis, Axis]

    @classmethod
    def of_affine(cls, affine: Any, shape: Sequence[int]) -> Placement:
        """All of an image of ``shape`` (W, H, D)."""
        x, y, z = (Axis(range(n)) for n in shape)
        return cls(Lattice.of_affine(affine), (x, y, z))

    @classmethod
    def of_grid(cls, grid: Grid) -> Placement:
        """All voxels of a grid."""
        x, y, z = map(Axis, map(range, grid.shape))
        return cls(Lattice.of_grid(grid), (x, y, z))

    @classmethod
    def of_axes(cls, world: Any, axes: Sequence[tuple[float, float, int | None]]) -> Placement:
        """Voxels given along each axis by first position, signed step (mm) and size.

        A size of None is one voxel whose dimension was dropped.
        """
        lattice = Lattice.of_axes(world, [a[0] for a in axes], [abs(a[1]) for a in axes])
        x, y, z = (
            Axis(_steps(-1 if step < 0 else 1, 1 if size is None else size), size is None)
            for _, step, size in axes
        )
        return cls(lattice, (x, y, z))

    @property
    def affine(self) -> Matrix:
        """(4, 4) index among these voxels to RAS+ mm."""
        x, y, z = (axis.indices for axis in self.axes)
        return checked_affine(self.lattice.affine @ matrix((x, y, z)))

    @property
    def shape(self) -> Shape3:
        """Number of voxels (W, H, D); 1 where the dimension was dropped."""
        x, y, z = (axis.size for axis in self.axes)
        return x, y, z

    def step(self, axis: int) -> float:
        """Signed millimetres from one voxel to the next."""
        return self.lattice.spacing[axis] * self.axes[axis].indices.step

    def first(self, axis: int) -> float:
        """Position of the first voxel, mm along the axis."""
        start = self.axes[axis].indices.start
        return self.lattice.origin[axis] + self.lattice.spacing[axis] * start

    def positions(self, axis: int) -> NDArray[np.float64]:
        """(n,) positions in mm along the axis; descending after a reversal."""
        r = self.axes[axis].indices
        indices = np.arange(r.start, r.stop, r.step)
        return np.asarray(self.lattice.origin[axis] + self.lattice.spacing[axis] * indices)

    def with_axis(self, axis: int, new_axis: Axis) -> Placement:
        """These voxels with others along one axis."""
        axes = list(self.axes)
        axes[axis] = new_axis
        return replace(self, axes=(axes[0], axes[1], axes[2]))

    # --- Two placements -----------------------------------------------------------------------

    def locate(self, other: Placement, ignore: Collection[int] = ()) -> tuple[range, range, range]:
        """The voxels of another placement, as indices among these (which may lie outside).

        Args:
            other: Voxels of the same lattice, perhaps in reverse.
            ignore: Axes along which it does not matter where they are.

        Raises:
            GridError: ``GRID_MISMATCH`` if any voxel is more than 1e-3 voxel off the lattice.
        """
        relative = self._relative(other)
        nearest = np.rint(relative)
        # Unevenness grows with the distance from the first voxel, so the far corner counts.
        corner = [*(max(n - 1, 0) for n in other.shape), 1]
        off = np.abs(relative - nearest) @ corner
        axial = np.abs(nearest[:3, :3]) == np.eye(3)
        rows = [n for n in range(3) if n not in ignore]
        if (off[rows] > SAME_GRID_TOLERANCE).any() or not axial[rows].all():
            raise self.mismatch(other, "their voxels are not at the same places")
        if not self._same_directions(other):
            raise self.mismatch(other, "their axes point in opposite directions")
        x, y, z = (
            _steps(int(nearest[n, n]) or 1, size, start=int(nearest[n, 3]))
            for n, size in enumerate(other.shape)
        )
        return x, y, z

    def joined(self, other: Placement, how: Literal["inner", "outer"]) -> Placement:
        """Voxels in both (``inner``), or the smallest box around both (``outer``).

        Raises:
            GridError: ``GRID_MISMATCH``, or ``NO_OVERLAP`` if nothing is in both.
        """
        located = self.locate(other)
        combine = _intersection if how == "inner" else _hull
        # Within itself a single voxel needs no other step; growing, it takes that of the many.
        base = self if how == "inner" else self._with_steps_of(other)
        for n, (axis, other_indices) in enumerate(zip(base.axes, located, strict=True)):
            inner = combine(axis.size, other_indices)
            if axis.size and other_indices and not inner:
                raise GridError(
                    f"the images do not overlap along {DIMS[n]}: no voxel is in both; choose parts "
                    "that overlap",
                    code="NO_OVERLAP",
                )
            base = base.with_axis(n, replace(axis, indices=_compose(axis.indices, inner)))
        return base

    def mismatch(
        self, other: Placement, why: str, cure: str = "resample one onto the other first"
    ) -> GridError:
        """The error for placements that cannot be combined.

        Args:
            other: The other placement.
            why: How the two differ.
            cure: What to do.
        """
        own_grid, other_grid = (Grid(_positive(p.shape), p.affine) for p in (self, other))
        return GridError(
            f"the images are on different grids ({why}): {own_grid} and {other_grid}; {cure}",
            code="GRID_MISMATCH",
        )

    def _relative(self, other: Placement) -> Matrix:
        """(4, 4) index among the other's voxels to index among these."""
        relative = np.linalg.solve(self._frame(other), other._frame(self))
        for n in range(3):
            if self.shape[n] <= 1 and other.shape[n] <= 1:
                relative[:, n] = np.eye(4)[n]
        return np.asarray(relative)

    def _same_directions(self, other: Placement) -> bool:
        # Reversed by slicing, an image keeps W and its coordinates descend. Stored in reverse it
        # has another W, so that its coordinates do not compare with these.
        along = np.sum(self.lattice.world * other.lattice.world, axis=0)[:3]
        sizes = np.maximum(self.shape, other.shape)
        return bool((along[sizes > 1] > 0).all())

    def _frame(self, other: Placement) -> Matrix:
        # A single voxel is at home in any spacing: only its position has to match.
        frame = np.array(self.affine)
        for n in range(3):
            if self.shape[n] <= 1 < other.shape[n]:
                frame[:3, n] = self.lattice.world[:3, n] * other.step(n)
        return frame

    def _with_steps_of(self, other: Placement) -> Placement:
        """These voxels, single ones with the step of the many in ``other``."""
        if not any(m <= 1 < i for m, i in zip(self.shape, other.shape, strict=True)):
            return self
        axes = []
        for n, axis in enumerate(self.axes):
            step = other.step(n) if axis.size <= 1 < other.shape[n] else self.step(n)
            axes.append((self.first(n), step, None if axis.dropped else axis.size))
        return Placement.of_axes(self.lattice.world, axes)


def _compose(outer: range, inner: range) -> range:
    """``outer[inner]``, also for indices beyond the ends of ``outer``."""
    step = outer.step * inner.step
    return _steps(step, len(inner), start=outer.start + outer.step * inner.start)


def _steps(step: int, size: int, *, start: int = 0) -> range:
    return range(start, start + step * size, step)


def _intersection(size: int, indices: range) -> range:
    if not indices:
        return range(0)
    return range(max(0, min(indices[0], indices[-1])), min(size, max(indices[0], indices[-1]) + 1))


def _hull(size: int, indices: range) -> range:
    if not indices:
        return range(size)
    return range(min(0, indices[0], indices[-1]), max(size, indices[0] + 1, indices[-1] + 1))


def _positive(shape: Shape3) -> Shape3:
    x, y, z = (max(1, n) for n in shape)
    return x, y, z
