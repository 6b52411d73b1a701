"""A source that is computed from other sources: the contract of all lazy operations.

An operation says what it needs (`Operation.needs`) and makes voxels of it (`Operation.compute`,
a function of arrays that reads nothing). Reading follows from the two: a selection is cut into
parts of bounded cost, which are computed in threads.
"""

from __future__ import annotations

import math
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from voxarray.core import memory, settings
from voxarray.core.promotion import cast
from voxarray.core.thread_pools import computing_pool
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.base import Channels, OriginalHeader, Source, digest

PART_BYTES = 12 << 20
"""What computing one part may hold: large, so that borders cost little, but small for most budgets.
"""

_LEAST = 4
"""By which parts shrink at most where the budget is small: thinner ones are mostly borders."""

_THIN = 32

_local = threading.local()


@dataclass(frozen=True, eq=False)
class Operation(Source):
    """Voxels computed from those of ``base``, and of whatever other sources a subclass holds.

    Subclasses are frozen dataclasses: their fields are their sources and parameters, all of
    which go into the token, and they can be pickled. Unless they say otherwise, they have the
    shape, type, affine and channels of their base.

    Attributes:
        base: The first input.
    """

    base: Source

    # --- What a subclass defines ------------------------------------------------------------------

    @abstractmethod
    def needs(self, selection: Selection) -> tuple[Selection | None, ...]:
        """What must be read to compute a selection: one per input, None for nothing.

        Args:
            selection: Any ranges, descending ones and steps included.
        """

    @abstractmethod
    def compute(self, selection: Selection, parts: Sequence[NDArray | None]) -> NDArray:
        """The voxels of a selection; each depends on what is near it, never on the cut.

        Args:
            selection: Of this source.
            parts: What `needs` asked for, one per input; not to be written to.
        """

    def compute_into(
        self, result: NDArray, selection: Selection, parts: Sequence[NDArray | None]
    ) -> None:
        """As `compute`, written to an array of the selection's shape; where that saves a copy."""
        result[...] = self.compute(selection, parts)

    def cost(self, selection: Selection) -> int:
        """Bytes that are held while a selection is computed, its inputs and itself included."""
        read = sum(
            math.prod(part.shape) * source.dtype.itemsize
            for part, source in zip(self.needs(selection), self.inputs, strict=True)
            if part is not None
        )
        return read + math.prod(selection.shape) * self.dtype.itemsize

    @property
    def part_bytes(self) -> int:
        """What computing one part may hold; more for those that read far around each voxel.

        The parts of all threads together hold a quarter of the budget, unless they would get tiny.
        """
        share = memory.budget() // (4 * settings.threads())
        return min(PART_BYTES, max(PART_BYTES // _LEAST, share))

    # --- What every source has --------------------------------------------------------------------

    @property
    def inputs(self) -> tuple[Source, ...]:
        values = (getattr(self, field.name) for field in fields(self))
        return tuple(value for value in values if isinstance(value, Source))

    def with_inputs(self, inputs: Sequence[Source]) -> Self:
        """The same operation on other sources, in the order of `inputs`."""
        names = [f.name for f in fields(self) if isinstance(getattr(self, f.name), Source)]
        return replace(self, **dict(zip(names, inputs, strict=True)))

    @property
    def shape(self) -> Shape4:
        return self.base.shape

    @property
    def dtype(self) -> np.dtype:
        return self.base.dtype

    @property
    def affine(self) -> NDArray[np.float64]:
        return self.base.affine

    @property
    def channels(self) -> Channels:
        return self.base.channels

    @property
    def chunks(self) -> Shape4:
        return self.base.chunks if self.base.shape == self.shape else self.shape

    @property
    def original_header(self) -> OriginalHeader | None:
        origin = self.base.original_header
        if origin is None or self.keeps_intensities:
            return origin
        return replace(origin, same_values=False)

    @property
    def keeps_intensities(self) -> bool:
        """Whether the voxels are intensities of the base, if perhaps at other places."""
        return False

    @property
    def slow_axes(self) -> tuple[int, int, int]:
        return self.base.slow_axes

    @property
    def lazy(self) -> bool:
        return True

    @property
    def reading_bytes(self) -> int:
        whole_cost = self.cost(Selection.whole(self.shape))
        below = max((source.reading_bytes for source in self.inputs), default=0)
        return settings.threads() * min(self.part_bytes, whole_cost) + below

    def token(self) -> str:
        values = (getattr(self, field.name) for field in fields(self))
        return digest(type(self).__qualname__, *map(_field_token, values))

    def read(self, selection: Selection) -> NDArray:
        parts = list(self._cut(selection))
        if len(parts) == 1:
            return self._part(selection)
        result = selection.empty(self.dtype)
        self._fill_parts(selection, parts, result)
        return result

    def read_into(self, selection: Selection, out: NDArray) -> None:
        self._fill_parts(selection, list(self._cut(selection)), out)

    def _fill_parts(
        self, selection: Selection, parts: Sequence[Selection], result: NDArray
    ) -> None:
        """Compute parts into their places in an array of the selection's shape.

        It may be a slab of an archive: an array of its size beside it would be in no projection.
        """
        is_own = result.dtype == self.dtype and result.strides[1] == result.itemsize

        def fill(inner: Selection) -> None:
            part, place = selection.compose(inner), result[inner.slices()]
            if is_own:
                self.compute_into(place, part, self._inputs_of(part))
            else:
                cast(self._part(part), place)

        # All threads compute parts that need this one, or one thread is all there is: handing
        # parts over would cost as much as a small part itself.
        if len(parts) == 1 or getattr(_local, "flag", False) or settings.threads() == 1:
            for inner in parts:
                fill(inner)
        else:
            list(computing_pool().map(_as_worker, [fill] * len(parts), parts))

    def _part(self, selection: Selection) -> NDArray:
        return self.compute(selection, self._inputs_of(selection))

    def _inputs_of(self, selection: Selection) -> list[NDArray | None]:
        needed = zip(self.needs(selection), self.inputs, strict=True)
        return [None if part is None else source.read(part) for part, source in needed]

    def _cut(self, selection: Selection) -> Iterator[Selection]:
        """Parts of a selection, as indices into it, that cost no more than `part_bytes` each."""
        limit = self.part_bytes
        pending = [Selection.whole(selection.shape)]
        while pending:
            inner = pending.pop()
            axis = self._longest_slow(inner)
            if len(inner.ranges[axis]) == 1 or self.cost(selection.compose(inner)) <= limit:
                yield inner
                continue
            ranges, half = list(inner.ranges), len(inner.ranges[axis]) // 2
            for indices in (ranges[axis][half:], ranges[axis][:half]):
                ranges[axis] = indices
                pending.append(Selection((ranges[0], ranges[1], ranges[2], ranges[3])))

    def _longest_slow(self, inner: Selection) -> int:
        """Axis to cut next: the one whose parts lie furthest apart in the file, until they are
        so thin that borders, which neighbours both read, would count.
        """
        order = (0, *(axis + 1 for axis in self.slow_axes))
        lengths = inner.shape
        thick = (axis for axis in order if lengths[axis] >= (_THIN if axis else 2))
        return next(thick, max(order, key=lambda axis: lengths[axis]))


def _as_worker(fill: Callable[[Selection], None], inner: Selection) -> None:
    _local.flag = True
    try:
        fill(inner)
    finally:
        _local.flag = False


def _field_token(value: Any) -> Any:
    """What tells a field of an operation from another, in any process."""
    if isinstance(value, Source):
        return value.token()
    if isinstance(value, Grid):  # whose text is rounded
        return value.shape, value.affine.tolist()
    return value
