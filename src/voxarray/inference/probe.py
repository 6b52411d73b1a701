"""What a network says of itself when it is run once, before voxels are read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from voxarray.core import memory
from voxarray.inference.network import Network
from voxarray.inference.network_input import Scan
from voxarray.inference.network_memory import ResidentPeak
from voxarray.inference.patching import Patching

_LOOKS = 2
_NOTICED = 8
"""What other threads take meanwhile is seen, too: where the network seems to need more than an
eighth of the budget it is measured again, and the least is believed."""


@dataclass(frozen=True)
class Probe:
    """What a network says of itself when it is run once.

    Attributes:
        classes: How many numbers it returns for each voxel.
        own_bytes: RAM that it needs beside its input and output.
    """

    classes: int
    own_bytes: int


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
        lambda: (
            f"predicting a batch of shape {(largest, channels, *patching.size)} (N, C, W, H, D)"
        ),
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
