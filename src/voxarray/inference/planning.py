"""From what a user says to a `VolumeJob`: sizes, orders, memory, disk, before voxels are read."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxarray.core import memory
from voxarray.core.memory import format_bytes
from voxarray.geometry.selection import Shape3
from voxarray.inference.native_blocks import NativeBlocks, block_edge, is_same_grid
from voxarray.inference.network import Network
from voxarray.inference.network_input import Scan
from voxarray.inference.network_memory import ResidentPeak
from voxarray.inference.patch_plan import PatchPlan
from voxarray.inference.patch_reader import PatchReader
from voxarray.inference.reduction import Reduction
from voxarray.inference.scratch_file import require_room
from voxarray.inference.volume_job import Cost, VolumeJob
from voxarray.patches.patch_sizes import three

log = logging.getLogger("voxarray.inference")

Order = tuple[int, int, int]


@dataclass(frozen=True)
class Placement:
    """Where a job's sums and its result are held.

    Attributes:
        job: The job, in the order that was chosen.
        cost: What it needs.
        limit: Bytes of RAM for sums that wait for more patches.
        streams: Whether the result is handed on in order while it is made.
        peak: Bytes of RAM that the job and the network need in all.
        scratch: Bytes of disk.
        network: Bytes of RAM that the network needs beside its input and output, as measured.
        writing: Bytes of RAM that writing the result needs besides.
    """

    job: VolumeJob
    cost: Cost
    limit: float
    streams: bool
    peak: int
    scratch: int
    network: int
    writing: int

    def __str__(self) -> str:
        disk = f"{format_bytes(self.scratch)} of scratch" if self.scratch else "no scratch"
        return (
            f"{len(self.job.plan)} patches of {self.job.plan.patch}, {self.job.classes} classes: "
            f"{format_bytes(self.peak + self.writing)} of memory "
            f"(the network's own: {format_bytes(self.network)}), {disk}"
        )


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


def order_of(scan: Scan, patching: Patching) -> Order:
    """That of the scan's planes, which can be written as they come; or that of the smallest front.

    It depends on sizes alone, never on the budget: another order of sums rounds otherwise.
    """
    mapping = np.linalg.solve(scan.network_input.grid.affine, scan.native.affine)
    first = int(np.abs(mapping[:3, 2]).argmax())
    shape = scan.network_input.grid.shape
    fronts = [
        o * math.prod(n for a, n in enumerate(shape) if a != axis)
        for axis, o in enumerate(patching.overlap)
    ]
    smallest = min(range(3), key=lambda axis: fronts[axis])
    slowest = first if fronts[first] <= _WORTH_IT * fronts[smallest] else smallest
    # Rows of patches along the shorter of the other axes: what waits for the next row is less.
    middle, fastest = sorted(
        (axis for axis in (2, 1, 0) if axis != slowest), key=lambda axis: -shape[axis]
    )
    return slowest, middle, fastest


_WORTH_IT = 1.5
"""How much larger a front may be that lets planes be written as they come."""


def placed(
    scan: Scan,
    patching: Patching,
    network: Network,
    classes: int,
    reduction: Reduction,
    in_order: bool,
    network_bytes: int,
    writing: int,
) -> Placement:
    """Choose where everything is held; reads nothing.

    Args:
        scan: What is predicted.
        patching: How it is cut.
        network: What predicts.
        classes: Numbers per voxel.
        reduction: What becomes of them.
        in_order: Whether the result can be written plane by plane.
        network_bytes: Bytes that the network needs beside its input and output.
        writing: Bytes that writing the result needs.

    Raises:
        MemoryBudgetError: If a patch, its prediction, the network's own memory and what writing
            needs exceed the budget.
        ArchiveError: If the scratch exceeds the disk (``NO_SPACE``).
    """
    budget = memory.budget()
    job = patching.job(scan, network, classes, reduction, order_of(scan, patching))
    chosen = _placement(
        job, budget, network_bytes, writing, scan.network_input.computed_bytes, in_order
    )
    memory.require(
        chosen.peak + writing,
        lambda: f"inference of {scan.path or 'the image'} ({chosen})",
        "use a smaller patch_size or batch_size, fewer classes, or raise the budget",
    )
    if chosen.scratch:
        require_room(chosen.scratch, f"inference of {scan.path or 'the image'}")
    log.info("%s: %s", scan.path or "image", chosen)
    return chosen


def _placement(
    job: VolumeJob,
    budget: int,
    network_bytes: int,
    writing: int,
    computed: list[int],
    in_order: bool,
) -> Placement:
    free = job.cost()
    streams = in_order and job.channels == 1 and free.planes <= budget // 4
    result = math.prod((job.channels, *job.native.shape)) * job.reduction.dtype.itemsize
    in_memory = not streams and result <= budget // 4
    held_bytes = free.planes if streams else (result if in_memory else _MAPPED)
    held_bytes += sum(size if size <= budget // 4 else _MAPPED for size in computed)
    room = budget - writing - network_bytes - free.fixed - held_bytes
    limit: float = math.inf
    cost = free
    if free.cells > room:
        limit = max(room, job.least_limit)
        cost = job.cost(limit)
    scratch = cost.scratch + (0 if streams or in_memory else result)
    scratch += sum(size for size in computed if size > budget // 4)
    peak = cost.fixed + held_bytes + cost.cells + network_bytes
    return Placement(job, cost, limit, streams, peak, scratch, network_bytes, writing)


@dataclass(frozen=True)
class Probe:
    """What a network says of itself when it is run once.

    Attributes:
        classes: How many numbers it returns for each voxel.
        own_bytes: RAM that it needs beside its input and output.
    """

    classes: int
    own_bytes: int


_MAPPED = 64 << 20
"""Pages of a result on the disk that are in RAM before they are given back, and then some."""


_LOOKS = 2
_NOTICED = 8
"""What other threads take meanwhile is seen, too: where the network seems to need more than an
eighth of the budget it is measured again, and the least is believed."""


def probe(scan: Scan, patching: Patching, network: Network, fixed: int = 1) -> Probe:
    """What a network says of itself, found by one batch of zeros; no voxels are read.

    Args:
        scan: What it will be shown.
        patching: How volumes are cut into patches.
        network: What is asked.
        fixed: Patches that a member takes at once, however few it is given.

    Raises:
        MemoryBudgetError: If such a batch, and a prediction of one class, exceed the budget.
        ModelError: As `Network.predict`, but for NaN, which zeros alone may lead to.
    """
    channels = sum(source.shape[0] for source in scan.network_input.sources)
    shape = patching.batch, channels, *patching.size
    largest = max(patching.batch, fixed)
    memory.require(
        4 * largest * (channels + 1) * math.prod(patching.size),
        lambda: f"{largest} patches of {patching.size} with {channels} channels",
        "use a smaller patch_size or batch_size, or raise the budget",
    )
    zeros = np.empty(shape, np.float32)
    zeros.fill(0)  # pages that are only read are none of the process, and would not be seen
    smallest, peak = 0, ResidentPeak()
    with network.ready():
        for look in range(_LOOKS):
            with peak.observed():
                prediction = network.predict(zeros, lambda: "a patch of zeros", may_be_nan=True)
                prediction_bytes = prediction.nbytes * network.predictions_held
            classes = int(prediction.shape[1])
            del prediction
            grown = max(0, peak.grown - prediction_bytes)
            smallest = min(smallest, grown) if look else grown
            if smallest <= memory.budget() // _NOTICED:
                break
    return Probe(classes, smallest)
