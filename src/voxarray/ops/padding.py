"""Voxels around a volume: constants, copies of what is inside, or ramps to zero."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnknownModeError
from voxarray.geometry.selection import Selection, Shape3, Shape4
from voxarray.ops.operation import Operation

COPIES = ("edge", "wrap", "reflect", "symmetric")
"""Modes of `numpy.pad` whose voxels are all found inside."""

_REPEATING = ("wrap", "reflect", "symmetric")
"""Those in which all voxels of an axis return at least once in twice its length."""

STATISTICS = ("maximum", "mean", "median", "minimum")
"""Modes of padding whose value is one number of the whole image."""

_FEW = 4
"""Runs along an axis up to which each is copied by itself: the inside, its two sides and a rest."""

PADDING_MODES = ("empty", "constant", "linear_ramp", *COPIES, *STATISTICS)
"""Names that everything that pads takes, besides a number: the words of `numpy.pad`."""


def checked_mode(mode: Any) -> str | float:
    """A padding mode: a number, or one of `PADDING_MODES`.

    Raises:
        UnknownModeError: If there is none of that name (``UNKNOWN_PADDING``).
        TypeError: For functions, which `numpy.pad` takes: they see all lines of the volume.
    """
    if isinstance(mode, str) and mode in PADDING_MODES:
        return mode
    if isinstance(mode, Real) and not isinstance(mode, bool):
        # Labels beyond 2^53 are not all numbers of float64.
        integer = operator.index(mode) if isinstance(mode, Integral) else None
        return float(mode) if integer is None or float(integer) == integer else integer
    if callable(mode):
        raise TypeError("padding by a function would need the whole volume: pad image.data instead")
    raise UnknownModeError(
        f"padding mode {mode!r} is not one of {', '.join(PADDING_MODES)}, nor a number",
        code="UNKNOWN_PADDING",
    )


@dataclass(frozen=True)
class Border:
    """Voxels that surround a volume while patches of it are read.

    Attributes:
        before: Voxels added before W, H and D, and as many after.
        mode: As `checked_mode` takes it.
    """

    before: Shape3
    mode: str | float

    def __post_init__(self) -> None:
        checked_mode(self.mode)

    def shape(self, shape: Shape3) -> Shape3:
        """Voxels of a volume with its border."""
        x, y, z = (n + 2 * b for n, b in zip(shape, self.before, strict=True))
        return x, y, z

    def is_inside(self, box: Sequence[range], shape: Shape3) -> bool:
        """Whether a box of the padded volume holds nothing of the border."""
        return all(
            b <= r.start and r.stop <= b + n
            for r, b, n in zip(box, self.before, shape, strict=True)
        )


@dataclass(frozen=True, eq=False)
class Padded(Operation):
    """More voxels at the ends of W, H and D, as `numpy.pad` makes them.

    Attributes:
        before: Voxels in front of each axis, at least 0.
        after: Voxels behind each axis.
        mode: ``"constant"``, ``"linear_ramp"`` or one of `COPIES`.
        constant: Value outside, for mode ``"constant"``.
    """

    before: Shape3
    after: Shape3
    mode: str = "constant"
    constant: float = 0

    @property
    def shape(self) -> Shape4:
        c, *sizes = self.base.shape
        w, h, d = (b + n + a for b, n, a in zip(self.before, sizes, self.after, strict=True))
        return c, w, h, d

    @property
    def keeps_intensities(self) -> bool:
        return True

    @property
    def affine(self) -> NDArray[np.float64]:
        return self.base.grid.pad(self.before, self.after).affine

    @property
    def chunks(self) -> Shape4:
        # Where a block is the whole axis, so it stays.
        c, *rest = (
            padded if chunk >= size else chunk
            for chunk, size, padded in zip(
                self.base.chunks, self.base.shape, self.shape, strict=True
            )
        )
        return c, rest[0], rest[1], rest[2]

    @property
    def lazy(self) -> bool:
        return self.base.lazy  # to copy a voxel twice costs no more than to read it twice

    def needs(self, selection: Selection) -> tuple[Selection | None, ...]:
        hulls = [self._hull(axis, r) for axis, r in enumerate(selection.spatial)]
        if not all(hulls):
            return (None,)
        x, y, z = hulls
        return (Selection((selection.ranges[0], x, y, z)),)

    def compute(self, selection: Selection, parts: Sequence[NDArray | None]) -> NDArray:
        result = selection.empty(self.dtype)
        self.compute_into(result, selection, parts)
        return result

    def compute_into(
        self, result: NDArray, selection: Selection, parts: Sequence[NDArray | None]
    ) -> None:
        voxels = parts[0]
        if self.mode == "constant" or voxels is None:
            self._surround(result, selection, voxels)
            return
        copies = []
        for axis, r in enumerate(selection.spatial):
            indices = self._base_indices(axis, r)
            indices -= indices.min()
            runs = _runs(indices)
            if len(runs) > _FEW:
                voxels = np.take(voxels, indices, axis=axis + 1)
                runs = [(slice(None), slice(None))]
            copies.append(runs)
        for x, y, z in itertools.product(*copies):
            result[:, x[0], y[0], z[0]] = voxels[:, x[1], y[1], z[1]]
        if self.mode == "linear_ramp":
            for axis, r in enumerate(selection.spatial):
                self._ramp(result, axis, np.array(r))

    def _surround(self, result: NDArray, selection: Selection, voxels: NDArray | None) -> None:
        result[...] = np.asarray(self.constant).astype(self.dtype)
        if voxels is not None:
            targets, sources = [slice(None)], [slice(None)]
            for axis, r in enumerate(selection.spatial):
                indices = self._base_indices(axis, r)
                first = r.index(int(indices[0]) + self.before[axis])
                targets.append(slice(first, first + len(indices)))
                sources.append(slice(int(indices[0] - indices.min()), None, r.step))
            result[tuple(targets)] = voxels[tuple(sources)]

    def _hull(self, axis: int, selected: range) -> range:
        """First to last of `_base_indices`, without an index for each voxel of a long axis."""
        size, before = self.base.shape[axis + 1], self.before[axis]
        positions = range(selected.start - before, selected.stop - before, selected.step)
        positions = positions if positions.step > 0 else positions[::-1]
        if self.mode == "constant":
            first = max(0, -(positions.start // positions.step))
            within = positions[first : max(0, (size - 1 - positions.start) // positions.step + 1)]
            return range(within[0], within[-1] + 1) if within else range(0)
        if positions.step == 1 and len(positions) >= 2 * size and self.mode in _REPEATING:
            return range(size)
        indices = self._base_indices(axis, selected)
        return range(int(indices.min()), int(indices.max()) + 1)

    def _base_indices(self, axis: int, selected: range) -> NDArray:
        """Voxels of the base, along an axis, that these voxels of the result are made of."""
        size = self.base.shape[axis + 1]
        indices = np.array(selected) - self.before[axis]
        if self.mode == "constant":
            return indices[(indices >= 0) & (indices < size)]
        if self.mode == "wrap":
            return indices % size
        if self.mode == "symmetric":
            folded = indices % (2 * size)
            indices = np.minimum(folded, 2 * size - 1 - folded)
        if self.mode == "reflect" and size > 1:
            folded = indices % (2 * size - 2)
            indices = np.minimum(folded, 2 * size - 2 - folded)
        return indices.clip(0, size - 1)

    def _ramp(self, voxels: NDArray, axis: int, positions: NDArray[np.intp]) -> None:
        """Bring what lies outside along an axis down to zero; ``voxels`` hold the edge there."""
        before, after = self.before[axis], self.after[axis]
        total = self.shape[axis + 1]
        for number, position in enumerate(positions.tolist()):
            from_end = total - 1 - position
            if position < before:
                count, step = before, position
            elif from_end < after:
                count, step = after, from_end
            else:
                continue
            line = np.moveaxis(voxels, axis + 1, 0)[number]
            # The order in which `numpy.pad` rounds where its edge holds a zero. Where it holds none
            # numpy multiplies by value / count, which can differ in the last bit of float64: a part
            # cannot know which, and must be equal to the same part of the whole.
            ramp = np.float64(step) / count * line + 0.0
            line[...] = np.floor(ramp) if line.dtype.kind in "iu" else ramp


def _runs(indices: NDArray[np.intp]) -> list[tuple[slice, slice]]:
    """Where indices are evenly spaced: their places, and what is taken there."""
    steps, start = np.diff(indices), 0
    runs: list[tuple[slice, slice]] = []
    while start < len(indices):
        changes = np.flatnonzero(steps[start:] != steps[start : start + 1])
        stop = start + int(changes[0]) + 1 if changes.size else len(indices)
        first, last = int(indices[start]), int(indices[stop - 1])
        step = int(steps[start]) if first != last else 1  # of copies of one plane, too
        end = last + (1 if step > 0 else -1)
        runs.append((slice(start, stop), slice(first, end if end >= 0 else None, step)))
        start = stop
    return runs
