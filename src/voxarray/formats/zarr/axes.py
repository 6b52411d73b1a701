"""Which axes of an array are C, W, H and D."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.geometry.selection import Selection, Shape4

_NAMES = {
    "x": "x",
    "y": "y",
    "z": "z",
    "c": "c",
    "channel": "c",
    "channels": "c",
    "t": "t",
    "time": "t",
}

Name = Literal["x", "y", "z", "c", "t"]


def canonical(name: object) -> str:
    """``x``, ``y``, ``z``, ``c`` or ``t``; another name as it is, and "" for none."""
    text = name if isinstance(name, str) else ""
    return _NAMES.get(text.lower(), text)


@dataclass(frozen=True, slots=True)
class AxisOrder:
    """How an array of any order of axes becomes (C, W, H, D).

    Attributes:
        sizes: Of the array.
        axes: Axis of the array that is C, W, H, D; None where it has none, which is size one.
        counts: What C counts: ``"c"`` or ``"t"``.
    """

    sizes: tuple[int, ...]
    axes: tuple[int | None, int | None, int | None, int | None]
    counts: Literal["c", "t"]

    @classmethod
    def of(cls, names: Sequence[str], sizes: Sequence[int], path: str) -> AxisOrder:
        """From the names of the axes.

        An axis of size one that is neither t, c, z, y nor x is left out.

        Raises:
            UnsupportedError: An axis is missing, doubled or unknown (``BAD_AXES``), or both t and
                c are longer than one (``UNSUPPORTED_DIMS``).
        """
        canonical_names = [canonical(name) for name in names]
        index_of = {
            name: canonical_names.index(name) for name in "xyzct" if name in canonical_names
        }
        strange = [
            name
            for axis, name in enumerate(canonical_names)
            if index_of.get(name) != axis and (sizes[axis] > 1 or name in index_of)
        ]
        if strange or len(names) != len(sizes) or not {"x", "y"} <= index_of.keys():
            raise UnsupportedError(
                f"the axes are {list(names)}, of sizes {tuple(sizes)}: expected x and y, and "
                "perhaps z, c and t, each once; open the store with xarray, name or choose axes, "
                "and pass the DataArray",
                code="BAD_AXES",
                path=path,
            )
        longer = [name for name in "ct" if name in index_of and sizes[index_of[name]] > 1]
        if len(longer) > 1:
            raise UnsupportedError(
                f"there are {sizes[index_of['t']]} time points of {sizes[index_of['c']]} channels, "
                "but an image has only one axis besides W, H and D: open the store with xarray, "
                "choose one time point or one channel, and pass the DataArray",
                code="UNSUPPORTED_DIMS",
                path=path,
            )
        counts: Literal["c", "t"] = "t" if longer == ["t"] or "c" not in index_of else "c"
        if "t" not in index_of:
            counts = "c"
        axes = (index_of.get(counts), index_of["x"], index_of["y"], index_of.get("z"))
        return cls(tuple(sizes), axes, counts)

    @property
    def shape(self) -> Shape4:
        """(C, W, H, D)."""
        return self.permuted(self.sizes)

    def permuted(self, sizes: Sequence[int]) -> Shape4:
        """Numbers per axis of the array as numbers per C, W, H, D, one for axes it lacks."""
        c, w, h, d = (1 if axis is None else int(sizes[axis]) for axis in self.axes)
        return c, w, h, d

    def ranges(self, selection: Selection) -> list[range]:
        """What is selected, per axis of the array."""
        result = [range(1)] * len(self.sizes)
        for axis, selected in zip(self.axes, selection.ranges, strict=True):
            if axis is not None:
                result[axis] = selected
        return result

    def as_image(self, voxels: NDArray) -> NDArray:
        """A (C, W, H, D) view of part of the array."""
        present = [axis for axis in self.axes if axis is not None]
        rest = [axis for axis in range(voxels.ndim) if axis not in present]
        ordered = voxels.transpose(*present, *rest)
        reshaped = ordered.reshape(ordered.shape[: len(present)])  # the rest have one index each
        missing = tuple(n for n, axis in enumerate(self.axes) if axis is None)
        return np.expand_dims(reshaped, missing)
