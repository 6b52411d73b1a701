"""voxarray's `PatchDataset`, as its documentation shows."""

from __future__ import annotations

import voxarray as vx


def dataset(path, patch, count):
    return vx.PatchDataset([{"t1": vx.ScalarImage(path)}], vx.UniformSampler(patch), count)


def voxels(batch):
    return batch["t1"]["data"]
