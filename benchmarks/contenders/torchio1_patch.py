"""A patch of a ``.nii.gz`` with TorchIO 1: the volume is loaded, as it has to be, then cut."""

from __future__ import annotations

import time

import torchio as tio


def run(source: str, boxes: list[list[list[int]]]) -> list[float]:
    """Seconds per patch; each box is [start, stop] along W, H and D."""
    seconds = []
    for (i0, i1), (j0, j1), (k0, k1) in boxes:
        start = time.perf_counter()
        tio.ScalarImage(source)[i0:i1, j0:j1, k0:k1].data.clone()
        seconds.append(time.perf_counter() - start)
    return seconds
