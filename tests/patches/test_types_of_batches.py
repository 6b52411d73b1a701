"""Batches of predictions of another type than the first one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import voxarray as vx


def _added(change):
    voxels = np.arange(512, dtype="f4").reshape(1, 8, 8, 8) - 255.5
    sampler = vx.GridSampler(vx.Subject(t1=vx.ScalarImage(tensor=voxels)), 4)
    aggregator = vx.GridAggregator(sampler, overlap_mode="crop")
    for number, batch in enumerate(DataLoader(sampler, batch_size=4)):
        aggregator.add_batch(change(batch["t1"]["data"], number), batch["location"])
    return voxels, aggregator.get_output_tensor()


@pytest.mark.parametrize("first", [torch.uint8, torch.int64, torch.bool])
def test_fractions_are_refused_after_whole_numbers(first):
    with pytest.raises(vx.StateError, match="add predictions of one type") as error:
        _added(lambda data, number: data if number else data.to(first))
    assert error.value.code == "BAD_BATCH"


@pytest.mark.parametrize(("first", "then"), [(torch.float32, torch.float64), (torch.int16, None)])
def test_values_that_are_held_are_added(first, then):
    def change(data, number):
        whole = data.floor()
        return whole if then is None and number else whole.to(then if number else first)

    voxels, found = _added(change)
    assert found.dtype == first
    np.testing.assert_array_equal(found.double().numpy(), np.floor(voxels))
