"""Index expressions as four ranges: which channels, rows, columns and slices are meant.

A `Selection` is the algebra behind every slice of an image. Ranges compose exactly
(``range(10)[2:][::-1]``), know their length, and turn into an affine by one matrix product, so
no index arithmetic is done anywhere else.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import OutOfRangeError, SelectionError

Shape4 = tuple[int, int, int, int]
Shape3 = tuple[int, int, int]

AXIS_NAMES = ("C", "W", "H", "D")


@dataclass(frozen=True, slots=True)
class Selection:
    """Voxels of a (C, W, H, D) array, as one non-empty range per axis.

    Examples:
        >>> whole = vx.source.Selection.whole((1, 64, 56, 48))
        >>> part = vx.source.Selection.box((0, 1), (0, 9), (4, 8), (0, 2))
        >>> part.shape
        (1, 9, 4, 2)

    Attributes:
        ranges: Indices taken along C, W, H and D; steps may be negative.
    """

    ranges: tuple[range, range, range, range]

    @classmethod
    def whole(cls, shape: Shape4) -> Selection:
        """Select everything of an array of shape (C, W, H, D)."""
        c, w, h, d = shape
        return cls((range(c), range(w), range(h), range(d)))

    @classmethod
    def box(cls, *bounds: tuple[int, int]) -> Selection:
        """Select ``start <= index < stop`` along C, W, H and D."""
        c, w, h, d = (range(start, stop) for start, stop in bounds)
        return cls((c, w, h, d))

    def is_all_of(self, shape: Shape4) -> bool:
        """Whether this selects everything of an array of a shape, in its order, along its axes.

        To Python, ranges of one index are equal whatever their steps. But the step along an axis of
        one voxel says which way the axis runs.
        """
        return (
            self.ranges[0] == range(shape[0])
            and self.ranges[0].step == 1
            and self.is_all_space_of(shape)
        )

    def is_all_space_of(self, shape: Shape4) -> bool:
        """Whether this selects every voxel of some channels, in their order; as `is_all_of`."""
        return all(
            r == range(n) and r.step == 1 for r, n in zip(self.spatial, shape[1:], strict=True)
        )

    @property
    def shape(self) -> Shape4:
        """Shape (C, W, H, D) of the selected voxels."""
        c, w, h, d = self.ranges
        return len(c), len(w), len(h), len(d)

    @property
    def spatial(self) -> tuple[range, range, range]:
        """Ranges along W, H and D."""
        return self.ranges[1:]

    def empty(self, dtype: np.dtype) -> NDArray:
        """An array for the selected voxels, not yet filled.

        Examples:
            >>> part = vx.source.Selection.whole((1, 64, 56, 48))
            >>> part.empty(np.dtype("int16")).strides
            (344064, 2, 128, 7168)

        Returns:
            A (C, W, H, D) view of new (C, D, H, W) memory, in which x runs fastest, as in sources.
        """
        c, w, h, d = self.shape
        return np.empty((c, d, h, w), dtype).transpose(0, 3, 2, 1)

    def __iter__(self) -> Iterator[range]:
        return iter(self.ranges)

    def __getitem__(self, key: Any) -> Selection:
        """Select from this selection with a NumPy-like basic index.

        One to three indices address (W, H, D), as in TorchIO; four address (C, W, H, D). An
        ellipsis expands among the addressed axes. An integer keeps its axis with size one.

        Raises:
            TypeError: For anything but integers, slices and one ellipsis.
            OutOfRangeError: For an integer beyond the axis.
            SelectionError: If no voxels are selected.
        """
        ranges = [
            _take(axis_range, item, name)
            for axis_range, item, name in zip(self.ranges, _expand(key), AXIS_NAMES, strict=True)
        ]
        return Selection((ranges[0], ranges[1], ranges[2], ranges[3]))

    def compose(self, inner: Selection) -> Selection:
        """Select ``inner`` (indices into this selection) from this selection."""
        c, w, h, d = (
            outer[_as_slice(r)] for outer, r in zip(self.ranges, inner.ranges, strict=True)
        )
        return Selection((c, w, h, d))

    def bounding_box(self) -> Selection:
        """Smallest contiguous ascending selection that contains this one."""
        c, w, h, d = (range(min(r[0], r[-1]), max(r[0], r[-1]) + 1) for r in self.ranges)
        return Selection((c, w, h, d))

    def slices(self, offset: Selection | None = None) -> tuple[slice, slice, slice, slice]:
        """Slices that take this selection from an array, in (C, W, H, D) order.

        Args:
            offset: Ascending box of the voxels that the array holds; None for the whole image.
        """
        starts = (0, 0, 0, 0) if offset is None else tuple(r.start for r in offset.ranges)
        c, w, h, d = (
            _as_slice(range(r.start - o, r.stop - o, r.step))
            for r, o in zip(self.ranges, starts, strict=True)
        )
        return c, w, h, d


def matrix(ranges: tuple[range, range, range]) -> NDArray[np.float64]:
    """Affine (4, 4) from an index into the ranges to what it selects: ``diag(step) | start``."""
    result = np.eye(4)
    for axis, r in enumerate(ranges):
        result[axis, axis] = r.step
        result[axis, 3] = r.start
    return result


def _as_slice(r: range) -> slice:
    # A descending range down to index 0 has stop == -1, which a slice would read as "the last".
    return slice(r.start, r.stop if r.stop >= 0 else None, r.step)


def _expand(key: Any) -> tuple[Any, Any, Any, Any]:
    """Name an item for each of C, W, H, D."""
    items = key if isinstance(key, tuple) else (key,)
    explicit = [item for item in items if item is not Ellipsis]
    if len(items) - len(explicit) > 1:
        raise TypeError("an index may hold one ellipsis (...), but this one holds more")
    if len(explicit) > 4:
        raise OutOfRangeError(
            f"too many indices: {len(explicit)} given, but an image has four axes (C, W, H, D); "
            "one to three indices address (W, H, D)",
            code="TOO_MANY_INDICES",
        )
    addressed = 4 if len(explicit) == 4 else 3
    # `in` and `.index` would compare with ==, which arrays answer with an array.
    position = next((n for n, item in enumerate(items) if item is Ellipsis), len(items))
    fill = (slice(None),) * (addressed - len(explicit))
    expanded = (*explicit[:position], *fill, *explicit[position:])
    c, w, h, d = expanded if addressed == 4 else (slice(None), *expanded)
    return c, w, h, d


def _take(axis_range: range, item: Any, name: str) -> range:
    if isinstance(item, slice):
        try:
            selected = axis_range[item]
        except TypeError:
            raise TypeError(_advice(item)) from None
        if len(selected) == 0:
            raise SelectionError(
                f"{_text(item)} selects no voxels along {name}, whose size is {len(axis_range)}"
            )
        return selected
    if isinstance(item, (bool, np.bool_)):
        raise TypeError(_advice(item))
    try:
        index = operator.index(item)
    except TypeError:
        raise TypeError(_advice(item)) from None
    size = len(axis_range)
    if not -size <= index < size:
        raise OutOfRangeError(f"index {index} is out of range along {name}, whose size is {size}")
    index %= size
    return axis_range[index : index + 1]


def _text(item: slice) -> str:
    parts = ["" if part is None else str(part) for part in (item.start, item.stop)]
    return ":".join(parts) + ("" if item.step is None else f":{item.step}")


def _advice(item: Any) -> str:
    type_name, shape = type(item).__name__, getattr(item, "shape", ())
    # All values of an array would hide the message.
    description = (
        f"{item!r:.200} ({type_name})" if not shape else f"an array ({type_name} of {tuple(shape)})"
    )
    return (
        f"an image cannot be indexed with {description}: use integers, "
        "slices (start:stop:step) and ..., for example image[10:20, ::2, -1]; "
        "for masks and lists use image.array or image.data"
    )
