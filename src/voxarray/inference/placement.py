"""Where the sums and the result of an inference are held, decided before voxels are read."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np

from voxarray.core import memory
from voxarray.core.memory import format_bytes
from voxarray.inference.network import Network
from voxarray.inference.network_input import Scan
from voxarray.inference.patching import Order, Patching
from voxarray.inference.reduction import Reduction
from voxarray.inference.scratch_file import require_room
from voxarray.inference.volume_job import Cost, VolumeJob

log = logging.getLogger("voxarray.inference")

_MAPPED = 64 << 20
"""Pages of a result on the disk that are in RAM before they are given back, and then some."""


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
