"""What a user says of patches: their size, how far they overlap, how many are predicted at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from voxarray.geometry.selection import Shape3
from voxarray.inference.native_blocks import NativeBlocks, block_edge, is_same_grid
from voxarray.inference.network import Network
from voxarray.inference.network_input import Scan
from voxarray.inference.patch_plan import PatchPlan
from voxarray.inference.patch_reader import PatchReader
from voxarray.inference.reduction import Reduction
from voxarray.inference.volume_job import VolumeJob
from voxarray.patches.patch_sizes import three

Order = tuple[int, int, int]


def overlap_voxels(overlap: Any, patch: Shape3) -> Shape3:
    """Voxels that neighbours share along W, H and D.

    Args:
        overlap: A fraction of the patch (float), voxels (int), or three of either.
        patch: Voxels of a patch.

    Raises:
        ValueError: For what is negative, or as large as the patch.
    """
    values = list(overlap) if isinstance(overlap, (tuple, list, np.ndarray)) else [overlap] * 3
    if len(values) != 3:
        raise ValueError(f"overlap is one number or three, not {overlap!r}")
    result = []
    for value, size in zip(values, patch, strict=True):
        is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not is_whole and not isinstance(value, (float, np.floating)):
            raise ValueError(f"overlap is a fraction or a number of voxels, not {value!r}")
        if not is_whole and not 0 <= value < 1:
            raise ValueError(f"overlap as a fraction is at least 0 and below 1, not {value!r}")
        # As MONAI's interval of int(size * (1 - overlap)) voxels, and one at least.
        voxels = int(value) if is_whole else size - max(1, int(size * (1 - value)))
        if not 0 <= voxels < size:
            raise ValueError(f"an overlap of {value!r} does not fit into a patch of {size} voxels")
        result.append(voxels)
    return result[0], result[1], result[2]


@dataclass(frozen=True)
class Patching:
    """How a volume is cut into patches.

    Attributes:
        size: Voxels (W, H, D) of a patch.
        overlap: Voxels (W, H, D) that neighbours share.
        blend: One of `BLENDS`.
        dtype: Of the sums.
        batch: Patches that are predicted at once.
    """

    size: Shape3
    overlap: Shape3
    blend: str
    dtype: np.dtype
    batch: int

    @classmethod
    def of(cls, size: Any, overlap: Any, blend: str, dtype: np.dtype, batch: int) -> Patching:
        """Check what a user says."""
        patch = three(size, "patch_size", 1)
        return cls(patch, overlap_voxels(overlap, patch), blend, dtype, batch)

    def job(
        self, scan: Scan, network: Network, classes: int, reduction: Reduction, order: Order
    ) -> VolumeJob:
        """The job of a scan, its patches in an order."""
        shape = scan.network_input.grid.shape
        x, y, z = (max(0, p - n) // 2 for n, p in zip(shape, self.size, strict=True))
        mapping = np.linalg.solve(scan.network_input.grid.affine, scan.native.affine)
        backwards = [False, False, False]
        # Finished planes come in the order of the scan's own.
        backwards[order[0]] = bool(mapping[order[0], 2] < 0)
        plan = PatchPlan.of(shape, self.size, self.overlap, self.blend, order, backwards)
        reader = PatchReader(scan.network_input.sources, plan, (x, y, z))
        blocks = None
        if not is_same_grid(scan.network_input.grid, scan.native):
            blocks = NativeBlocks(
                plan, scan.network_input.grid, (x, y, z), scan.native, block_edge(classes)
            )
        return VolumeJob(
            reader,
            network,
            classes,
            self.blend,
            self.dtype,
            self.batch,
            scan.native,
            blocks,
            reduction,
        )
