"""Cells between finished and coming patches: in RAM up to a limit, beyond it in a scratch file.

The order of patches is known, so that what is needed last is put away first: each cell that has
to wait is written once and read once, and no other order of exchanges moves fewer bytes.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from voxarray.inference.patch_plan import Cell
from voxarray.inference.scratch_file import ScratchFile, Slots

NextUse = Callable[[Cell, int], int | None]
"""Number of the next patch after a given one at which a cell is needed."""

_MAPPED_FROM = 128 << 10
"""Bytes of arrays that get pages of their own."""

_MARGIN = 0.1
"""Share of the limit that is freed at once, for to choose costs a look at all that is held."""


class CellLedger:
    """Which cells are in RAM and which on the disk: the accounts of a `CellStore`, without voxels.

    Run over a plan it says beforehand, to the byte, what the store will need.

    Args:
        limit: Bytes that may be in RAM.
        next_use: When a cell is needed next.

    Attributes:
        bytes: Of the cells in RAM.
        peak: The most that there were at once.
        moved: Bytes that were written to the disk.
    """

    def __init__(self, limit: float, next_use: NextUse) -> None:
        self._limit, self._next_use = limit, next_use
        self._resident: dict[Cell, int] = {}
        self._away: dict[Cell, tuple[int, int]] = {}
        self._done: set[Cell] = set()
        self._patch = -1
        self._slots = Slots()
        self.bytes = self.peak = self.moved = 0

    @property
    def scratch(self) -> int:
        """Bytes that the scratch file has grown to."""
        return self._slots.size

    def begin(self, number: int) -> None:
        """Say which patch is at work."""
        self._patch = number
        self._done.clear()

    def add(self, cell: Cell, size: int) -> None:
        """A cell that is new."""
        self._make_room(size)
        self._hold(cell, size)

    def fetch(self, cell: Cell) -> None:
        """Bring a cell into RAM if it is not there."""
        if cell in self._away:
            offset, size = self._away[cell]
            self._make_room(size)
            del self._away[cell]
            self._read(cell, offset)
            self._slots.give_back(offset, size)
            self._hold(cell, size)
        self._done.add(cell)

    def drop(self, cell: Cell) -> None:
        """Forget a cell."""
        if cell in self._away:
            self._slots.give_back(*self._away.pop(cell))
        else:
            self.bytes -= self._resident.pop(cell)

    def _hold(self, cell: Cell, size: int) -> None:
        self._resident[cell] = size
        self._done.add(cell)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)

    def _make_room(self, size: int) -> None:
        if self.bytes + size <= self._limit:
            return
        # More than is needed at once, or each new cell would look through all of them again.
        enough = max(0.0, (1 - _MARGIN) * self._limit - size)
        # What is needed last goes first (Belady): the plan tells the future exactly.
        for cell in sorted(self._resident, key=self._needed_at, reverse=True):
            if self.bytes <= enough:
                return
            nbytes = self._resident.pop(cell)
            offset = self._slots.take(nbytes)
            self._write(cell, offset)
            self._away[cell] = offset, nbytes
            self.bytes -= nbytes
            self.moved += nbytes

    def _needed_at(self, cell: Cell) -> float:
        # What the patch at work has not touched yet, it will touch next.
        after = self._patch if cell in self._done else self._patch - 1
        use = self._next_use(cell, after)
        return float("inf") if use is None else use

    def _write(self, cell: Cell, offset: int) -> None:
        """Move a cell to the disk."""

    def _read(self, cell: Cell, offset: int) -> None:
        """Move a cell back into RAM."""


class CellStore(CellLedger):
    """Sums of patches, cell by cell.

    Args:
        limit: Bytes that may be in RAM.
        next_use: When a cell is needed next.
        dtype: Of the sums.
        shape: (K, w, h, d) of a cell.
        peak: Bytes that are in RAM at most, as a `CellLedger` has found.
    """

    def __init__(
        self,
        limit: float,
        next_use: NextUse,
        dtype: np.dtype,
        shape: Callable[[Cell], tuple[int, ...]],
        peak: int,
    ) -> None:
        super().__init__(limit, next_use)
        self._dtype, self._shape = dtype, shape
        self._arrays: dict[Cell, NDArray] = {}
        self._memory = Recycled(peak)
        self._file: ScratchFile | None = None

    def new(self, cell: Cell) -> NDArray:
        """Uninitialised sums (K, w, h, d) of a cell that there was not yet."""
        self.add(cell, math.prod(self._shape(cell)) * self._dtype.itemsize)
        return self._allocated(cell)

    def get(self, cell: Cell) -> NDArray:
        """Sums (K, w, h, d) of a cell, to be changed in place before the next call."""
        self.fetch(cell)
        return self._arrays[cell]

    def drop(self, cell: Cell) -> None:
        super().drop(cell)
        if cell in self._arrays:
            self._memory.give_back(self._arrays.pop(cell))

    def close(self) -> None:
        """Give memory and disk back."""
        self._arrays.clear()
        self._memory.clear()
        if self._file is not None:
            self._file.close()

    def _allocated(self, cell: Cell) -> NDArray:
        self._arrays[cell] = self._memory.take(self._shape(cell), self._dtype)
        return self._arrays[cell]

    def _write(self, cell: Cell, offset: int) -> None:
        if self._file is None:
            self._file = ScratchFile()
        array = self._arrays.pop(cell)
        self._file.write(offset, array)
        self._memory.give_back(array)

    def _read(self, cell: Cell, offset: int) -> None:
        if self._file is not None:  # what is read was written
            self._file.read_into(offset, self._allocated(cell))


class Recycled:
    """Memory of cells that are gone, for those that come: fresh pages cost as much as a sum.

    Large arrays are maps of their own. From the allocator's heap, between predictions that come
    and go, they took twice the bytes that they have (100 MiB more than 118 MiB, measured).

    Args:
        most: Bytes that are held at most, in use or kept for use.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free: dict[int, list[NDArray[np.uint8]]] = {}
        self._bytes = self._used = 0

    def take(self, shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
        """An uninitialised array."""
        size = math.prod(shape) * dtype.itemsize
        self._used += size
        free = self._free.get(size)
        if free:
            self._bytes -= size
            return free.pop().view(dtype).reshape(shape)
        while self._bytes and self._used + self._bytes > self._limit:
            largest = max(nbytes for nbytes, arrays in self._free.items() if arrays)
            self._free[largest].pop()
            self._bytes -= largest
        return _bytes(size).view(dtype).reshape(shape)

    def give_back(self, array: NDArray) -> None:
        """An array of `take` is not needed any more."""
        self._used -= array.nbytes
        self._bytes += array.nbytes
        self._free.setdefault(array.nbytes, []).append(array.reshape(-1).view(np.uint8))

    def clear(self) -> None:
        """Let go of what is kept."""
        self._free.clear()
        self._bytes = 0


def _bytes(size: int) -> NDArray[np.uint8]:
    if size >= _MAPPED_FROM:
        try:
            return np.frombuffer(
                mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8
            )
        except OSError:  # a process may have 65,530 maps
            pass
    return np.empty(size, np.uint8)
