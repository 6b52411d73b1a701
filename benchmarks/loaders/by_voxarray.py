"""voxarray's `PatchDataset`, as its documentation shows."""

from __future__ import annotations

import voxarray as vx

PATCHES_UNTIL_STEADY = 1300
"""Of a worker: after 2**15 chunks it compiles its loops, which takes it up to six seconds of CPU
the first time. A patch of a ``training`` archive is 28 chunks; of ``default`` it is 4, and no run
gets so far.
"""


def dataset(path, patch, count):
    return vx.PatchDataset([{"t1": vx.ScalarImage(path)}], vx.UniformSampler(patch), count)


def voxels(batch):
    return batch["t1"]["data"]
