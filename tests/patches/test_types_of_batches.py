"""Batches of predictions of another type than the first one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import voxarray as vx


def _added(change, mode="crop"):
    voxels = np.arange(512, dtype="f4").reshape(1, 8, 8, 8) - 255.5
    sampler = vx.GridSampler(vx.Subject(t1=vx.ScalarImage(tensor=voxels)), 4)
    aggregator = vx.GridAggregator(sampler, overlap_mode=mode)
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
    with pytest.raises(vx.StateError, match="does not hold all values of this one") as error:
        _added(lambda data, number: data.to(then) * value if number else data.to(first))
    assert error.value.code == "BAD_BATCH"


@pytest.mark.parametrize("mode", ["average", "hann"])
@pytest.mark.parametrize("first", [torch.float16, torch.float32, torch.int64, torch.bool])
def test_numbers_beyond_the_sums_are_refused(first, mode):
    """They became infinite: sums are float32, unless the first batch is float64."""
    with pytest.raises(vx.StateError, match="does not hold all values of this one") as error:
        _added(lambda data, number: data.double() * 1e300 if number else data.to(first), mode)
    assert error.value.code == "BAD_BATCH"


@pytest.mark.parametrize("mode", ["average", "hann"])
def test_numbers_beyond_float32_are_added_to_sums_in_float64(mode):
    voxels, found = _added(lambda data, _: data.double() * 1e300, mode)
    np.testing.assert_allclose(found.numpy() / 1e300, voxels)


@pytest.mark.parametrize("mode", vx.patches.aggregator.MODES)
def test_complex_numbers_are_refused_after_real_ones(mode):
    """Their imaginary parts were dropped."""
    with pytest.raises(vx.UnsupportedError, match="complex64"):
        _added(lambda data, number: data.to(torch.complex64) if number else data, mode)


@pytest.mark.parametrize("mode", ["average", "hann"])
def test_sums_beyond_float32_of_numbers_that_it_holds_are_refused(mode):
    """They became infinite. The sums stay as they are, so that smaller numbers can be added."""
    sampler = vx.GridSampler(vx.Subject(t1=vx.testing.sample((6, 6, 6))), 6)
    aggregator = vx.GridAggregator(sampler, overlap_mode=mode)
    (batch,) = DataLoader(sampler)
    large = torch.full_like(batch["t1"]["data"], 3e38, dtype=torch.float32)
    aggregator.add_batch(large, batch["location"])
    with pytest.raises(vx.StateError, match="beyond what float32 holds") as error:
        aggregator.add_batch(large, batch["location"])
    assert error.value.code == "BAD_BATCH"
    np.testing.assert_allclose(aggregator.get_output_tensor().numpy(), 3e38, rtol=1e-6)


@pytest.mark.parametrize(
    ("first", "value"), [(torch.float32, 2**24), (torch.float32, 2**53), (torch.float64, 2**53)]
)
def test_whole_numbers_that_would_be_rounded_are_refused(first, value):
    """Labels: compared as floats, both were rounded and seemed to be equal."""
    for more in (0, 1):
        change = lambda data, number: (  # noqa: E731
            torch.full_like(data, value + more, dtype=torch.int64) if number else data.to(first)  # noqa: B023
        )
        if more:
            with pytest.raises(
                vx.StateError, match="does not hold all values of this one"
            ) as error:
                _added(change)
            assert error.value.code == "BAD_BATCH"
        else:
            assert _added(change)[1].max() == value


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("mode", vx.patches.aggregator.MODES)
def test_what_is_no_number_is_added_to_narrower_floats(value, mode):
    change = lambda data, number: torch.full_like(data, value).to(  # noqa: E731
        torch.float64 if number else torch.float32
    )
    found = _added(change, mode)[1]
    assert torch.equal(torch.isnan(found), torch.full_like(found, np.isnan(value)).bool())


@pytest.mark.parametrize("mode", vx.patches.aggregator.MODES)
@pytest.mark.parametrize("lacks", ["predictions", "locations"])
def test_arrays_of_numpy_are_refused_with_what_to_do(mode, lacks):
    sampler = vx.GridSampler(vx.Subject(t1=vx.testing.sample((8, 8, 8))), 8)
    batch = next(iter(DataLoader(sampler)))
    given = [batch["t1"]["data"], batch["location"]]
    changed = ["predictions", "locations"].index(lacks)
    given[changed] = given[changed].numpy()
    with pytest.raises(vx.StateError, match=f"{lacks} are of type ndarray.*from_numpy") as error:
        vx.GridAggregator(sampler, mode).add_batch(*given)
    assert error.value.code == "BAD_BATCH"
