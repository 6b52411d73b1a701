"""A volume with a border around it that exists only when it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.counting.cells import Box
from voxarray.geometry.selection import Selection, Shape3
from voxarray.source.base import Source

COPYING = ("edge", "reflect", "symmetric", "wrap")
"""Modes, named as in `numpy.pad`, in which every voxel of the border is one of the volume's."""


@dataclass(frozen=True)
class Padding:
    """A border of voxels.

    Attributes:
        before: Voxels added before W, H and D, and as many after.
        mode: ``"constant"`` (zero), one of `COPYING`, or the number that fills the border.

    Raises:
        UnsupportedError: For another mode (``UNKNOWN_PADDING``).
    """

    before: Shape3
    mode: str | float

    def __post_init__(self) -> None:
        if isinstance(self.mode, str) and self.mode not in ("constant", *COPYING):
            raise UnsupportedError(
                f"unknown padding_mode {self.mode!r}: use a number, 'constant' (zero) or one of "
                f"{', '.join(COPYING)}; what needs the whole volume, such as its mean, can be "
                "computed first and given as a number",
                code="UNKNOWN_PADDING",
            )

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

    def read(self, source: Source, box: Box) -> NDArray:
        """Voxels (C, W, H, D) of a box of the padded volume; reads what they are copies of."""
        shape = source.shape[1:]
        wanted = [
            _origins(r, b, n, self.mode) for r, b, n in zip(box, self.before, shape, strict=True)
        ]
        inside = [origins[origins >= 0] for origins in wanted]
        out = np.empty((source.shape[0], *map(len, wanted)), source.dtype)
        if not all(map(len, inside)):  # the box is nothing but border
            out[...] = self._fill
            return out
        x, y, z = (range(int(i.min()), int(i.max()) + 1) for i in inside)
        part = source.read(Selection((range(source.shape[0]), x, y, z)))
        taken = [np.maximum(o - r.start, 0) for o, r in zip(wanted, (x, y, z), strict=True)]
        out[...] = part[:, taken[0][:, None, None], taken[1][:, None], taken[2]]
        for axis, origins in enumerate(wanted, 1):
            if (origins < 0).any():
                np.moveaxis(out, axis, 0)[origins < 0] = self._fill
        return out

    @property
    def _fill(self) -> float:
        return 0 if isinstance(self.mode, str) else self.mode


def _origins(taken: range, before: int, size: int, mode: str | float) -> NDArray[np.int64]:
    """Index in the volume of each padded index; -1 where the border is a constant."""
    indices = np.arange(size, dtype=np.int64)
    if mode in COPYING:
        padded = np.pad(indices, before, mode=mode)  # type: ignore[call-overload]  # checked above
    else:
        padded = np.pad(indices, before, constant_values=-1)
    return np.asarray(padded[taken.start : taken.stop])
