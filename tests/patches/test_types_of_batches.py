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


@pytest.mark.parametrize(
    ("first", "then", "value"),
    [(torch.float16, torch.float32, 1e6), (torch.float32, torch.float64, -1e300)],
)
def test_numbers_beyond_the_type_of_the_first_batch_are_refused(first, then, value):
    """They became infinite."""
    with pytest.raises(vx.StateError, match="does not hold all its values") as error:
        _added(lambda data, number: data.to(then) * value if number else data.to(first))
    assert error.value.code == "BAD_BATCH"


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_no_number_is_added_to_narrower_floats(value):
    change = lambda data, number: torch.full_like(data, value).to(  # noqa: E731
        torch.float64 if number else torch.float32
    )
    found = _added(change)[1]
    assert torch.equal(torch.isnan(found), torch.full_like(found, np.isnan(value)).bool())


@pytest.mark.parametrize("mode", vx.patches.aggregator.MODES)
@pytest.mark.parametrize("lacks", ["predictions", "locations"])
def test_arrays_of_numpy_are_refused_with_what_to_do(mode, lacks):
    sampler = vx.GridSampler(vx.Subject(t1=vx.testing.sample((8, 8, 8))), 8)
    batch = next(iter(DataLoader(sampler)))
    given = [batch["t1"]["data"], batch["location"]]
    changed = ["predictions", "locations"].index(lacks)
    given[changed] = given[changed].numpy()
    with pytest.raises(vx.StateError, match=f"{lacks} are a ndarray.*from_numpy") as error:
        vx.GridAggregator(sampler, mode).add_batch(*given)
    assert error.value.code == "BAD_BATCH"
