"""What is made of the patches of a grid, against TorchIO 1.2.1 and against the whole volume."""

from __future__ import annotations

import dask.config
import numpy as np
import pytest
import torch
import torchio as tio
from torch.utils.data import DataLoader

import voxarray as vx
from in_turns import in_turns
from patches.conftest import AFFINE, SHAPE, archived, t1_voxels
from patches.exact_net import exact_net
from patches.grids import CASES, in_memory, torchios
from voxarray.core.errors import MemoryBudgetError, StateError

MODES = ["crop", "average", "hann"]


@pytest.mark.parametrize(
    ("size", "overlap", "padding", "mode"),
    [
        # Each mode for every other grid; all in the soak.
        pytest.param(*case, mode, marks=() if (n + m) % 2 == 0 else pytest.mark.slow)
        for n, case in enumerate(CASES)
        for m, mode in enumerate(MODES)
    ],
)
def test_aggregation_is_torchios(size, overlap, padding, mode, monkeypatch):
    """Of predictions that differ from patch to patch, so that weights show."""
    sampler = vx.GridSampler(in_memory(), size, overlap, padding)
    mine = vx.GridAggregator(sampler, mode)
    theirs = tio.GridAggregator(torchios(size, overlap, padding), mode)
    for number, batch in enumerate(DataLoader(sampler, batch_size=3)):
        predicted = torch.cat([batch["t1"]["data"], batch["t1"]["data"] * 2], 1).double()
        predicted = (predicted / 1000 + number).float()
        mine.add_batch(predicted, batch["location"])
        theirs.add_batch(predicted, batch["location"])
    found, expected = mine.get_output_tensor(), theirs.get_output_tensor()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    image = mine.get_output_image()
    np.testing.assert_array_equal(image.affine, AFFINE)
    assert image.shape == (2, *SHAPE)


@pytest.mark.parametrize("mode", ["crop", "average", "hann"])
@pytest.mark.parametrize("padding", [None, "reflect"])
def test_out_of_core_is_in_memory(tmp_path, mode, padding):
    sampler = vx.GridSampler(archived(tmp_path), (16, 16, 20), 4, padding)
    aggregators = [vx.GridAggregator(sampler, mode)]
    with dask.config.set({"voxarray.memory-budget": "64 KiB"}):
        aggregators.append(vx.GridAggregator(sampler, mode))
        for batch in DataLoader(sampler, batch_size=4):
            for aggregator in reversed(aggregators):
                aggregator.add_batch(batch["t1"]["data"].float(), batch["location"])
                with dask.config.set({"voxarray.memory-budget": "1 GiB"}):
                    aggregators[0]._prepared(batch["t1"]["data"].float().numpy())
        with pytest.raises(MemoryBudgetError, match=r"save\(path\)"):
            aggregators[1].get_output_tensor()
    assert [one._sums.in_memory for one in aggregators] == [True, False]
    aggregators[1].save(tmp_path / "out.ome.zarr")
    saved = vx.ScalarImage(tmp_path / "out.ome.zarr")
    assert torch.equal(saved.data, aggregators[0].get_output_tensor())
    np.testing.assert_array_equal(saved.affine, AFFINE)
    torch.testing.assert_close(saved.data, torch.from_numpy(t1_voxels()).float())


def test_pages_of_the_file_are_given_back(monkeypatch):
    from voxarray.patches import accumulator

    monkeypatch.setattr(accumulator, "_MOST_RESIDENT", 4096)
    with dask.config.set({"voxarray.memory-budget": "1 KiB"}):
        sums = accumulator.Accumulator((1, 8, 9, 10), np.dtype("f4"))
        for z in range(10):
            sums.region((range(8), range(9), range(z, z + 1)))[...] = z
        for z in range(10):
            assert (sums.region((range(8), range(9), range(z, z + 1))) == z).all()


def test_labels_stay_integers_and_become_a_label_map(tmp_path):
    sampler = vx.GridSampler(in_memory(), 16, 4)
    aggregator = vx.GridAggregator(sampler)
    for batch in DataLoader(sampler, batch_size=8):
        aggregator.add_batch((batch["t1"]["data"] > 9000).to(torch.uint8), batch["location"])
    image = aggregator.get_output_image()
    assert isinstance(image, vx.LabelMap)
    np.testing.assert_array_equal(image.numpy(), t1_voxels() > 9000)
    aggregator.save(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(vx.LabelMap(tmp_path / "mask.nii.gz").numpy(), image.numpy())


def test_smaller_predictions():
    sampler = vx.GridSampler(vx.Subject(t1=vx.ScalarImage(tensor=np.ones((1, 16, 16, 16)))), 8, 4)
    aggregator = vx.GridAggregator(sampler, downsampling_factor=2)
    for batch in DataLoader(sampler, batch_size=3):
        aggregator.add_batch(batch["t1"]["data"][..., ::2, ::2, ::2], batch["location"])
    image = aggregator.get_output_image()
    assert image.shape == (1, 8, 8, 8)
    assert (image.data == 1).all()
    np.testing.assert_array_equal(image.affine, sampler.grid.coarsen((2, 2, 2)).affine)


def test_every_order_and_several_rounds():
    sampler = vx.GridSampler(in_memory(), 16, 4)
    aggregator = vx.GridAggregator(sampler, "average")
    for seed in (0, 1):
        order = torch.Generator().manual_seed(seed)
        for batch in DataLoader(sampler, batch_size=5, shuffle=True, generator=order):
            aggregator.add_batch(batch["t1"]["data"] + 2.0 * seed, batch["location"])
    expected = torch.from_numpy(t1_voxels()).float() + 1
    torch.testing.assert_close(aggregator.get_output_tensor(), expected)


def test_holes_are_errors():
    sampler = vx.GridSampler(in_memory(), 16, 4)
    aggregator = vx.GridAggregator(sampler, "average")
    with pytest.raises(StateError, match="were not added") as caught:
        aggregator.get_output_tensor()
    assert caught.value.code == "PATCHES_MISSING"
    batch = next(iter(DataLoader(sampler, batch_size=2)))
    data, location = batch["t1"]["data"], batch["location"]
    aggregator.add_batch(data, location)
    with pytest.raises(StateError, match=f"{len(sampler) - 2} of {len(sampler)}"):
        aggregator.get_output_tensor()
    with pytest.raises(StateError, match="no patch at"):
        aggregator.add_batch(data, location + 1)
    with pytest.raises(StateError, match=r"is \(2, 1, 16, 16, 15\): expected 2 patches of shape"):
        aggregator.add_batch(data[..., :-1], location)
    with pytest.raises(StateError, match="has 2 channels"):
        aggregator.add_batch(data.expand(-1, 2, -1, -1, -1), location)
    for batch in DataLoader(sampler, batch_size=2):
        aggregator.add_batch(batch["t1"]["data"], batch["location"])
    with pytest.raises(StateError, match="patches were added 1 to 2"):
        aggregator.get_output_tensor()


def _pooled(volume, patch, overlap, mode, factor, padding):
    sampler = vx.GridSampler(vx.Subject(a=vx.ScalarImage(tensor=volume)), patch, overlap, padding)
    aggregator = vx.GridAggregator(sampler, mode, factor)
    for number in range(len(sampler)):
        one = sampler[number]
        smaller = torch.nn.functional.avg_pool3d(one["a"]["data"], factor)
        aggregator.add_batch(smaller[None], torch.as_tensor(one["location"])[None])
    return aggregator.get_output_image()


@pytest.mark.parametrize(("padding", "mode"), in_turns(["edge", None], ["crop", "average", "hann"]))
def test_downsampled_predictions_lie_where_they_belong_or_are_refused(mode, padding):
    generator = np.random.default_rng(0)
    right = refused = 0
    for _ in range(60):
        factor = int(generator.choice([1, 2, 3, 4]))
        shape = tuple(int(n) for n in generator.integers(9, 34, 3))
        patch = tuple(int(n) for n in generator.integers(4, 9, 3) * generator.choice([1, factor]))
        patch = tuple(min(a, b) for a, b in zip(patch, shape, strict=True))
        overlap = tuple(int(generator.integers(0, p // 2)) * 2 for p in patch)
        if generator.random() < 0.5:
            overlap = tuple(o // (2 * factor) * 2 * factor for o in overlap)
            shape = tuple(p + (n - p) // factor * factor for p, n in zip(patch, shape, strict=True))
        volume = torch.rand(1, *shape)
        expected = torch.nn.functional.avg_pool3d(volume, factor)
        try:
            found = _pooled(volume, patch, overlap, mode, factor, padding)
        except vx.StateError as error:
            refused += error.code == "UNALIGNED_STARTS"
            continue
        right += 1
        assert found.shape == expected.shape

        torch.testing.assert_close(found.data, expected)
    assert right > 5
    assert refused > 5 or padding is None


def test_the_size_that_is_advised_fits():
    volume = torch.rand(1, 16, 16, 50)
    with pytest.raises(vx.StateError, match="for example to 52 voxels") as error:
        _pooled(volume, 16, 4, "average", 4, None)
    assert error.value.code == "UNALIGNED_STARTS"
    assert _pooled(torch.rand(1, 16, 16, 52), 16, 4, "average", 4, None).shape == (1, 4, 4, 13)
    with pytest.raises(vx.StateError, match="multiples of 8"):
        _pooled(torch.rand(1, 32, 32, 32), 14, 4, "average", 4, None)


@pytest.mark.parametrize("factor", [0, -1, 1.5, True, "2"])
def test_a_downsampling_factor_is_a_positive_whole_number(factor):
    sampler = vx.GridSampler(vx.Subject(a=vx.ScalarImage(tensor=torch.rand(1, 8, 8, 8))), 4)
    with pytest.raises(ValueError, match="downsampling_factor"):
        vx.GridAggregator(sampler, "crop", factor)


def test_an_unknown_overlap_mode_is_refused():
    with pytest.raises(ValueError, match="Overlap mode"):
        vx.GridAggregator(vx.GridSampler(in_memory(), 16), "max")


@pytest.mark.parametrize("padding", [None, "constant"])
@pytest.mark.parametrize("workers", [0, 2])
def test_sliding_windows_are_the_whole_volume_exactly(tmp_path, padding, workers):
    net = exact_net()
    subject = vx.Subject(t1=archived(tmp_path).t1)
    sampler = vx.GridSampler(subject, (14, 13, 16), 4, padding)
    aggregator = vx.GridAggregator(sampler)
    with torch.no_grad():
        for batch in DataLoader(sampler, batch_size=4, num_workers=workers):
            aggregator.add_batch(net(batch["t1"]["data"].double()), batch["location"])
        whole = net(subject.t1.data[None].double())[0]
    found = aggregator.get_output_tensor()
    if padding is None:
        assert torch.equal(found, whole)
    else:
        # With a border of zeros, hidden layers see beyond the volume where the whole net sees zero.
        inner = (slice(None), *(slice(2, -2),) * 3)
        assert torch.equal(found[inner], whole[inner])
