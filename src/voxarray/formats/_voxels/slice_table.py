"""Slices that stand in a file in an order of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import TruncatedError
from voxarray.formats._voxels.file_array import Box, FileArray
from voxarray.geometry.selection import Shape4
from voxarray.storage.raw_voxels import RawVoxels


@dataclass(frozen=True, eq=False, kw_only=True)
class ScatteredSlices(FileArray):
    """Uncompressed slices (H, W), each found by its number in the file.

    Attributes:
        numbers: (C, D), which slice of the file is at each place.
    """

    numbers: tuple[tuple[int, ...], ...]

    def _check_extent(self) -> None:
        last = 1 + max(map(max, self.numbers))
        needed = self.stored.offset + last * self._slice_bytes
        if needed > self.identity.size:
            raise TruncatedError(
                f"{last} slices of {self._slice_bytes} bytes end at byte {needed}, and the file "
                f"has {self.identity.size} bytes: it was cut short, or its header is wrong; copy "
                "it again, or repair the header"
            )

    @property
    def _block(self) -> Shape4:
        return 1, *self.stored.disk_shape[1:]

    @property
    def _slice_bytes(self) -> int:
        _, width, height, _ = self.shape
        return width * height * self.stored.dtype.itemsize

    def _read_stored(self, box: Box, out: NDArray) -> None:
        _, width, height, _ = self.shape
        with self.opened() as fd:
            for volume, c in zip(out, box[0], strict=True):
                for plane, z in zip(volume, box[1], strict=True):
                    start = self.stored.offset + self.numbers[c][z] * self._slice_bytes
                    raw = RawVoxels(start, (height, width), self.stored.dtype)
                    raw.read(fd, box[2:], plane)


def slice_numbers(order: NDArray[np.intp], shape: Shape4) -> tuple[tuple[int, ...], ...]:
    """Numbers (C, D) from a list in which slices of the first volume come first."""
    table = np.asarray(order).reshape(shape[0], shape[3])
    return tuple(tuple(int(n) for n in row) for row in table)
