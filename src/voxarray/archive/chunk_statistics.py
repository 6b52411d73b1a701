"""What is counted of each chunk while an archive is written, and stored beside the NIfTI header.

* ``label_counts``, of label maps: rows (channel, cell, value, count). Samplers find voxels of a
  label by it.
* ``weight_sums`` (channel, cell), of floating-point numbers of which none is negative, NaN or
  infinite: these may be probabilities. Samplers find voxels by their weight with it.
* The smallest and the largest voxel, found while the chunks are in memory.

A cell is a chunk of the full resolution.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from voxarray.archive import documents
from voxarray.archive.staging import Staging
from voxarray.core.error_messages import MAKE_AGAIN
from voxarray.core.errors import FormatError
from voxarray.core.scaling import Scaling
from voxarray.counting.cells import COLUMNS, CellCounts, Cells, CellSums, as_table, rows_of
from voxarray.geometry.layout import Index4, Layout

LABEL_COUNTS = "label_counts"
WEIGHT_SUMS = "weight_sums"
"""Names of the arrays."""

Ends = tuple[Any, Any]
"""The smallest and the largest of some voxels, as stored."""


def cells_of(layout: Layout) -> Cells:
    """The chunks of a layout as cells of the volume."""
    _, depth, height, width = layout.shape
    _, z, y, x = layout.chunk
    return Cells((width, height, depth), (x, y, z))


def table_values(raw: bytes, dtype: str, per_row: int) -> NDArray:
    """The numbers of a table, from the bytes of its only chunk.

    Raises:
        FormatError: If they are no whole rows; code ``BAD_CHUNK_SIZE``.
    """
    size = len(raw) - 4  # its crc32c
    if size < 0 or size % (np.dtype(dtype).itemsize * per_row):
        raise FormatError(
            f"the table of chunk statistics has {size} bytes, which is not a whole number of rows "
            f"of {per_row} numbers: {MAKE_AGAIN}",
            code="BAD_CHUNK_SIZE",
        )
    return np.frombuffer(raw, np.uint8, size).view(dtype)


def write_table(
    area: Staging, key: str, table: NDArray, names: Sequence[str], facts: Mapping[str, Any]
) -> None:
    """Store a table as a Zarr array of one chunk, followed by its crc32c.

    Args:
        area: The archive that is being written.
        key: Of the array.
        table: Two-dimensional, little-endian.
        names: Of its dimensions.
        facts: Attributes of the array.
    """
    document = documents.plain_array(table.shape, table.dtype, names, facts)
    area.write(f"{key}/zarr.json", documents.dump(document))
    data = table.tobytes()
    crc = google_crc32c.value(data).to_bytes(4, "little")
    area.write(f"{key}/{documents.chunk_key((0, 0))}", data + crc)


@dataclass(slots=True)
class LabelTally:
    """Counts of all chunks of one label map; chunks may be given by several threads.

    Attributes:
        layout: Of the full resolution.
    """

    layout: Layout
    _rows: list[NDArray[np.int64]] = field(default_factory=list)
    _is_labels: bool = True

    def add(self, index: Index4, voxels: NDArray) -> NDArray | None:
        """Count the voxels (n, z, y, x) of the chunk at ``index``.

        Returns:
            All values of the chunk, ascending; None if they are not labels, or of several volumes.
        """
        if not self._is_labels:
            return None
        n, z, y, x = index
        number = cells_of(self.layout).number(x, y, z)
        rows = None
        for channel, volume in enumerate(voxels, n * self.layout.chunk[0]):
            rows = rows_of(channel, number, volume)
            if rows is None:
                self._is_labels = False  # too many values: a measurement that is called a label map
                return None
            self._rows.append(rows)
        if rows is None or len(voxels) > 1:
            return None
        return rows[:, COLUMNS.index("value")].astype(voxels.dtype)

    def write(self, area: Staging, prefix: str) -> None:
        """Store the counts in the group at ``prefix``, if these are labels."""
        if not self._is_labels:
            return
        table = as_table(self._rows).astype("<i8")
        attributes = {"columns": list(COLUMNS), "cell": list(cells_of(self.layout).edge)}
        write_table(area, f"{prefix}{LABEL_COUNTS}", table, ("row", "column"), attributes)


def parse_label_counts(raw: bytes, layout: Layout) -> CellCounts:
    """The counts that `LabelTally.write` stored, from the bytes of their only chunk."""
    columns = len(COLUMNS)
    table = table_values(raw, "<i8", columns).reshape(-1, columns)
    return CellCounts(cells_of(layout), table.astype(np.int64, copy=False))


@dataclass(slots=True)
class WeightTally:
    """Sums of all chunks of one map; chunks may be given by several threads.

    Attributes:
        layout: Of the full resolution.
    """

    layout: Layout
    _sums: NDArray[np.float64] = field(init=False)
    _are_weights: bool = True

    def __post_init__(self) -> None:
        self._sums = np.zeros((self.layout.shape[0], cells_of(self.layout).total))

    def add(self, index: Index4, voxels: NDArray) -> None:
        """Sum the voxels (n, z, y, x) of the chunk at ``index``."""
        if not self._are_weights:
            return
        n, z, y, x = index
        number = cells_of(self.layout).number(x, y, z)
        for channel, volume in enumerate(voxels, n * self.layout.chunk[0]):
            # With a NaN, the minimum is NaN and fails the comparison; an infinity makes the sum
            # infinite.
            total = float(volume.sum(dtype=np.float64)) if volume.min() >= 0 else math.nan
            if not math.isfinite(total):
                self._are_weights = False
                return
            self._sums[channel, number] = total

    def include(self, other: WeightTally) -> None:
        """Take the sums of another tally, which was given other chunks of the same map."""
        self._sums += other._sums
        self._are_weights = self._are_weights and other._are_weights

    def write(self, area: Staging, prefix: str) -> None:
        """Store the sums in the group at ``prefix``, if these can be weights."""
        if not self._are_weights:
            return
        sums = self._sums.astype("<f8")
        attributes = {"cell": list(cells_of(self.layout).edge)}
        write_table(area, f"{prefix}{WEIGHT_SUMS}", sums, ("channel", "cell"), attributes)


def parse_weight_sums(raw: bytes, layout: Layout, channel: int) -> CellSums:
    """The sums of a channel that `WeightTally.write` stored, from the bytes of their only chunk."""
    row = layout.shape[0] * cells_of(layout).total
    sums = table_values(raw, "<f8", row).reshape(layout.shape[0], -1)[channel]
    return CellSums(cells_of(layout), sums.astype(np.float64))


class Extremes:
    """Smallest and largest finite value of all voxels that pass through `watching`.

    Chunks come from several threads, each while it is in the processor's cache.

    Attributes:
        ends: Smallest and largest value; None as long as no value was finite.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.ends: Ends | None = None

    def watching(self, convert: Callable[[NDArray], NDArray]) -> Callable[[NDArray], NDArray]:
        """``convert``, with its results counted on the way."""

        def watch(block: NDArray) -> NDArray:
            voxels = convert(block)
            self.add(voxels)
            return voxels

        return watch

    def add(self, voxels: NDArray) -> None:
        """Count voxels of any shape; complex ones have no order and are left out."""
        ends = _ends(voxels)
        if ends is not None:
            self.include(ends)

    def include(self, ends: Ends) -> None:
        """Include the smallest and the largest of voxels that were counted elsewhere."""
        with self._lock:
            candidates = ends if self.ends is None else (*self.ends, *ends)
            self.ends = min(candidates), max(candidates)

    def of(self, scaling: Scaling | None) -> dict[str, Any]:
        """``minimum`` and ``maximum`` as JSON; None where no value is finite.

        Args:
            scaling: Turns stored voxels into intensities.
        """
        if self.ends is None:
            return {"minimum": None, "maximum": None}
        ends = np.array(self.ends)
        if scaling is not None:
            ends = np.sort(scaling.apply(ends))
        low, high = ends.tolist()
        return {"minimum": low, "maximum": high}


def _ends(voxels: NDArray) -> Ends | None:
    if voxels.dtype.kind == "c" or not voxels.size:
        return None
    low, high = voxels.min(), voxels.max()
    if voxels.dtype.kind == "f" and not (np.isfinite(low) and np.isfinite(high)):
        finite = voxels[np.isfinite(voxels)]
        if not finite.size:
            return None
        low, high = finite.min(), finite.max()
    return low, high
