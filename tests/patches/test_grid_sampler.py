"""Grids of patches and their aggregation, against TorchIO 1.2.1 and against the whole volume."""

from __future__ import annotations

import dask.config
import numpy as np
import pytest
import torch
import torchio as tio
from torch.utils.data import DataLoader

import voxarray as vx
from patches.conftest import AFFINE, SHAPE, archived, t1_voxels
from voxarray.core.errors import MemoryBudgetError, OutOfRangeError, StateError, UnsupportedError
from voxarray.ops.padding import PADDING_MODES
from voxarray.testing.counting import count_reads

CASES = [
    ((10, 12, 9), 0, None),
    ((10, 12, 9), (4, 2, 6), None),
    ((10, 12, 9), (4, 2, 6), "constant"),
    ((30, 41, 52), 0, None),
    ((10, 12, 9), 4, "reflect"),
    ((10, 12, 9), 4, 7.0),
    ((10, 12, 9), 4, "edge"),
    ((32, 43, 50), 8, "symmetric"),
]


def in_memory():
    return vx.Subject(t1=vx.ScalarImage(tensor=t1_voxels(), affine=AFFINE))


def torchios(size, overlap, padding):
    subject = tio.Subject(t1=tio.ScalarImage(tensor=torch.from_numpy(t1_voxels()), affine=AFFINE))
    return tio.GridSampler(subject, size, overlap, padding)


@pytest.mark.parametrize(("size", "overlap", "padding"), CASES)
def test_patches_are_torchios(size, overlap, padding):
    mine, theirs = (
        vx.GridSampler(in_memory(), size, overlap, padding),
        torchios(*(size, overlap, padding)),
    )
    found = {tuple(p["location"].tolist()): p for p in mine}
    assert len(mine) == len(theirs) == len(found)
    for patch in theirs:
        one = found[tuple(patch["location"].tolist())]
        np.testing.assert_array_equal(one["t1"]["data"], patch.t1.data)
        np.testing.assert_allclose(one["t1"]["affine"], patch.t1.affine, atol=1e-9)
    assert {tuple(row) for row in mine.locations.tolist()} == set(found)


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
    with pytest.raises(StateError, match="1 times and some 2"):
        aggregator.get_output_tensor()


def test_what_is_refused():
    subject = in_memory()
    for overlap, match in ((3, "even integers"), (16, "smaller"), (-2, "at least 0")):
        with pytest.raises(ValueError, match=match):
            vx.GridSampler(subject, 16, overlap)
    with pytest.raises(StateError, match="cannot be larger"):
        vx.GridSampler(subject, 31)
    with pytest.raises(UnsupportedError, match="padding mode 'nothing'") as error:
        vx.GridSampler(subject, 16, 4, "nothing")
    assert error.value.code == "UNKNOWN_PADDING"
    with pytest.raises(ValueError, match="Overlap mode"):
        vx.GridAggregator(vx.GridSampler(subject, 16), "max")
    with pytest.raises(OutOfRangeError):
        vx.GridSampler(subject, 16)[1000]


def test_making_a_sampler_reads_nothing(tmp_path):
    subject = archived(tmp_path)
    with count_reads() as reads:
        sampler = vx.GridSampler(subject, 16, 4, "reflect")
        assert len(sampler.locations) == len(sampler)
    assert reads.voxels == 0


def _pooled(volume, patch, overlap, mode, factor, padding):
    sampler = vx.GridSampler(vx.Subject(a=vx.ScalarImage(tensor=volume)), patch, overlap, padding)
    aggregator = vx.GridAggregator(sampler, mode, factor)
    for number in range(len(sampler)):
        one = sampler[number]
        smaller = torch.nn.functional.avg_pool3d(one["a"]["data"], factor)
        aggregator.add_batch(smaller[None], torch.as_tensor(one["location"])[None])
    return aggregator.get_output_image()


@pytest.mark.parametrize("mode", ["crop", "average", "hann"])
@pytest.mark.parametrize("padding", [None, "edge"])
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


@pytest.mark.parametrize("mode", [*PADDING_MODES, 7.0])
@pytest.mark.filterwarnings("ignore:the m:RuntimeWarning")
def test_the_border_of_patches_is_that_of_pad(mode):
    voxels = np.random.default_rng(0).integers(0, 200, (2, 9, 7, 5)).astype("int16")
    subject = vx.Subject(t1=vx.ScalarImage(tensor=voxels))
    sampler = vx.GridSampler(subject, 5, 4, mode)
    whole = vx.Pad(2, mode)(subject.t1).numpy()
    for patch in sampler:
        x, y, z, a, b, c = patch["location"].tolist()
        np.testing.assert_array_equal(patch["t1"]["data"], whole[:, x:a, y:b, z:c])


def test_one_list_of_padding_modes_is_known_everywhere():
    image = vx.Subject(t1=vx.ScalarImage(tensor=np.ones((1, 8, 8, 8), "float32")))
    for mode in PADDING_MODES:
        vx.Pad(1, mode), vx.CropOrPad(9, mode), vx.GridSampler(image, 4, 2, mode)
    for make in (
        lambda: vx.Pad(1, "no"),
        lambda: vx.CropOrPad(9, "no"),
        lambda: vx.GridSampler(image, 4, 2, "no"),
    ):
        with pytest.raises(KeyError) as error:
            make()
        assert error.value.code == "UNKNOWN_PADDING"


@pytest.mark.parametrize("kind", [vx.PatchDataset, vx.IterablePatchDataset])
def test_a_dataset_takes_a_sequence_of_subjects_only(kind):
    image = vx.ScalarImage(tensor=np.ones((1, 8, 8, 8), "float32"))
    subject = vx.Subject(t1=image)
    for wrong in (subject, image, dict(subject), "a", {"t1": image}, 3, [image], [subject, image]):
        with pytest.raises(TypeError, match="subjects"):
            kind(wrong, vx.UniformSampler(4))
    for right in ([subject], (dict(subject),)):
        assert kind(right, vx.UniformSampler(4)) is not None
