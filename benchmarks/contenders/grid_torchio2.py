"""A pass over all patches of a grid with TorchIO 2's sampler, as its documentation shows."""

from __future__ import annotations

import time

import torchio as tio


def run(source: str, patch: int, limit: int = 0) -> dict[str, float]:
    """Seconds for all patches; with a limit, for so many of them, as if all took as long."""
    start = time.perf_counter()
    sampler = tio.GridSampler(tio.Subject(t1=tio.ScalarImage(source)), patch_size=patch)
    total, count = 0, min(limit or len(sampler), len(sampler))
    for index in range(count):
        total += int(sampler[index].t1.data[0, 0, 0, 0])
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds * len(sampler) / count,
        "patches": len(sampler),
        "measured": count,
        "check": total,
    }
