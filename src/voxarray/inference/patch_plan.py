"""All patches of a volume in the order in which they are predicted, and the cells they share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from voxarray.geometry.selection import Shape3
from voxarray.inference.axis_plan import AxisPlan

Cell = tuple[int, int, int]
"""Number of a cell along W, H and D."""

Visit = tuple[int, int, int]
"""Number of a patch along W, H and D, as it is visited."""


@dataclass(frozen=True, eq=False)
class PatchPlan:
    """The patches of a volume.

    Attributes:
        axes: Along W, H and D.
        order: 0, 1 and 2 for W, H and D: the axis along which patches proceed slowest first. What
            is held between finished and coming patches is a slab across that axis. The layer that
            ends with the volume may share far more with its neighbour than others do: these two
            take turns, patch by patch, where that holds less than the thick slab between them.
    """

    axes: tuple[AxisPlan, AxisPlan, AxisPlan]
    order: tuple[int, int, int] = (2, 1, 0)

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        patch: Sequence[int],
        overlap: Sequence[int],
        blend: str,
        order: tuple[int, int, int] = (2, 1, 0),
        backwards: Sequence[bool] = (False, False, False),
    ) -> PatchPlan:
        """Cover a volume (W, H, D); see `AxisPlan.of` for the arguments of each axis."""
        x, y, z = (
            AxisPlan.of(n, p, o, blend, backwards=b)
            for n, p, o, b in zip(shape, patch, overlap, backwards, strict=True)
        )
        return cls((x, y, z), order)

    @property
    def shape(self) -> Shape3:
        """Voxels (W, H, D) that are predicted: the volume's, or a patch's where that is larger."""
        x, y, z = (axis.size for axis in self.axes)
        return x, y, z

    @property
    def patch(self) -> Shape3:
        """Voxels (W, H, D) of a patch."""
        x, y, z = (axis.patch for axis in self.axes)
        return x, y, z

    @cached_property
    def counts(self) -> Shape3:
        """Patches along W, H and D."""
        x, y, z = (len(axis.starts) for axis in self.axes)
        return x, y, z

    def __len__(self) -> int:
        x, y, z = self.counts
        return x * y * z

    @cached_property
    def _turns(self) -> list[range]:
        """The layers of patches that take turns with each layer, itself included."""
        slowest, middle, _ = self.order
        starts = self.axes[slowest].starts
        spans = self.axes[slowest].used
        turns = [range(n, n + 1) for n in range(len(starts))]
        if len(starts) < 3:
            return turns
        # One pair is irregular at most: that of the patch that ends with the volume.
        pair, regular = (0, 1) if starts[0] > starts[1] else (len(starts) - 2, 0)
        shared = [_shared(spans[n], spans[n + 1]) for n in (pair, regular)]
        step = abs(starts[regular + 1] - starts[regular])
        rows = self.axes[middle]
        between = _shared(*rows.used[:2]) if len(rows.starts) > 1 else 0
        if (shared[0] - shared[1]) * rows.size > between * step:
            turns[pair] = turns[pair + 1] = range(pair, pair + 2)
        return turns

    @cached_property
    def _layer(self) -> int:
        """Patches of a layer."""
        _, middle, fastest = self.order
        return self.counts[middle] * self.counts[fastest]

    def visit(self, number: int) -> Visit:
        """The patch that is predicted as number so and so."""
        slowest, middle, fastest = self.order
        turns = self._turns[number // self._layer]
        rest, turn = divmod(number - turns.start * self._layer, len(turns))
        indices = [0, 0, 0]
        indices[slowest] = turns.start + turn
        indices[middle], indices[fastest] = divmod(rest, self.counts[fastest])
        return indices[0], indices[1], indices[2]

    def number(self, visit: Sequence[int]) -> int:
        """When a patch is predicted."""
        slowest, middle, fastest = self.order
        turns = self._turns[visit[slowest]]
        within = visit[middle] * self.counts[fastest] + visit[fastest]
        return turns.start * self._layer + within * len(turns) + visit[slowest] - turns.start

    def start(self, number: int) -> Shape3:
        """First voxel (W, H, D) of a patch."""
        x, y, z = (a.starts[v] for a, v in zip(self.axes, self.visit(number), strict=True))
        return x, y, z

    def cells(self, number: int) -> Iterator[Cell]:
        """The cells that a patch covers."""
        visit = self.visit(number)
        x, y, z = (a.cells_of[v] for a, v in zip(self.axes, visit, strict=True))
        return itertools.product(x, y, z)

    def finished(self, number: int) -> Iterator[Cell]:
        """The cells that are finished with a patch."""
        visit = self.visit(number)
        x, y, z = (a.finished_by[v] for a, v in zip(self.axes, visit, strict=True))
        return itertools.product(x, y, z)

    def box(self, cell: Cell) -> tuple[range, range, range]:
        """Voxels (W, H, D) of a cell."""
        x, y, z = (a.cells[n] for a, n in zip(self.axes, cell, strict=True))
        return x, y, z

    def voxels(self, cell: Cell) -> int:
        """How many voxels a cell has."""
        x, y, z = self.box(cell)
        return len(x) * len(y) * len(z)

    def is_new(self, cell: Cell, number: int) -> bool:
        """Whether a patch is the first that covers a cell."""
        visit = self.visit(number)
        return all(a.visits[n][0] == v for a, n, v in zip(self.axes, cell, visit, strict=True))

    def finished_at(self, cell: Cell) -> int:
        """Number of the last patch that covers a cell."""
        return self.number([a.visits[n][1] for a, n in zip(self.axes, cell, strict=True)])

    def next_use(self, cell: Cell, number: int) -> int | None:
        """Number of the next patch after a given one that covers a cell; None if there is none."""
        # Worked out from digits, not searched: it is asked for each cell of each patch.
        slowest, middle, fastest = self.order
        first, last = self.axes[slowest].visits[cell[slowest]]
        other = [self.axes[axis].visits[cell[axis]] for axis in (middle, fastest)]
        current = self.visit(number)
        turns = self._turns[current[slowest]]
        layers = max(first, turns.start), min(last, turns.stop - 1)
        digits = None
        if layers[0] <= layers[1]:
            start_digits = [current[axis] for axis in (middle, fastest, slowest)]
            digits = _successor(start_digits, [*other, layers])
        if digits is None:
            layer = max(first, turns.stop)
            if layer > last:
                return None
            digits = [other[0][0], other[1][0], layer]
        visit = [0, 0, 0]
        visit[middle], visit[fastest], visit[slowest] = digits
        return self.number(visit)


def _successor(current: Sequence[int], spans: Sequence[tuple[int, int]]) -> list[int] | None:
    """The least digits above ``current`` that lie in the spans."""
    digits: list[int] = []
    for index, (first, last) in enumerate(spans):
        if current[index] < first:
            return [*digits, *(low for low, _ in spans[index:])]
        if current[index] > last:
            break
        digits.append(current[index])
    # What was matched so far is `current` itself, or too large further on: the last digit that can
    # grow does, and all after it begin anew.
    while digits:
        index = len(digits) - 1
        if digits[index] < spans[index][1]:
            digits[index] += 1
            return [*digits, *(low for low, _ in spans[index + 1 :])]
        digits.pop()
    return None


def _shared(first: tuple[int, int], second: tuple[int, int]) -> int:
    """Voxels that two spans share."""
    return max(0, min(first[1], second[1]) - max(first[0], second[0]))
