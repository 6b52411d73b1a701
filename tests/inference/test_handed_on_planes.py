"""Finished planes are handed on as soon as they are whole, whatever the writer asks for at once."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

import voxarray as vx
from voxarray.inference import predicted
from voxarray.inference.output_planes import GROUP, OutputPlanes

SHAPE = (24, 20, 150)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("suffix", [".ome.zarr", ".nii.gz"])
def test_no_more_planes_wait_than_were_projected(tmp_path, monkeypatch, caplog, suffix, batch_size):
    held = []

    class Watched(OutputPlanes):
        def __init__(self, *given):
            super().__init__(*given)
            held.append(self)

    monkeypatch.setattr(predicted, "OutputPlanes", Watched)
    caplog.set_level(logging.INFO, "voxarray.inference")
    voxels = np.random.default_rng(0).random((1, *SHAPE), np.float32)
    out = tmp_path / f"labels{suffix}"
    options = {"patch_size": 16, "overlap": 0.25, "classes": 2, "batch_size": batch_size}
    vx.infer(halves, vx.ScalarImage(tensor=voxels), out, **options)
    (placed,) = [r.args[1] for r in caplog.records if r.name == "voxarray.inference"]
    assert placed.streams
    # The writer asks for all planes of a chunk: 64 that waited beside it were not projected.
    assert 0 < held[0].peak * GROUP * SHAPE[0] * SHAPE[1] <= placed.cost.planes
    assert held[0].peak < SHAPE[2] // GROUP // 2
    np.testing.assert_array_equal(vx.LabelMap(out).numpy(), voxels > 0.5)


def halves(patches):
    return torch.cat([0.5 - patches, patches - 0.5], dim=1)
