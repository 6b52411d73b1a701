"""A pass over all patches of a grid with voxarray: what is decoded is counted, too."""

from __future__ import annotations

import time

import voxarray as vx
from voxarray.testing.counting import count_reads


def run(source: str, patch: int) -> dict[str, float]:
    """Seconds for all patches; decodings from the start, and decoded bytes per byte of voxels."""
    image = vx.ScalarImage(source)
    width, height, depth = image.spatial_shape
    total = count = 0
    start = time.perf_counter()
    with count_reads() as reads:
        for i in range(0, width, patch):
            for j in range(0, height, patch):
                for k in range(0, depth, patch):
                    part = image[i : i + patch, j : j + patch, k : k + patch].data
                    total += int(part[0, 0, 0, 0])
                    count += 1
        seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "patches": count,
        "passes": reads.passes,
        "decoded": reads.decoded / (image.shape[0] * width * height * depth * image.dtype.itemsize),
        "check": total,
    }
