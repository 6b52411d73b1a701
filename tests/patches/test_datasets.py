"""The same index is the same patch, whoever reads it, and a batch is what the files say."""

from __future__ import annotations

import inspect
import pickle

import dask.config
import numpy as np
import pytest
import torch
import torchio as tio
from torch.utils.data import DataLoader, DistributedSampler

import voxarray as vx
from patches.conftest import AFFINE, archived, label_voxels, t1_voxels
from voxarray.core.errors import OutOfRangeError
from voxarray.patches.disk_order import Part, by_shard, by_subject, indices_of
from voxarray.testing.counting import count_reads

PATCH = (9, 6, 8)


def dataset(subject, **options):
    return vx.PatchDataset([subject, subject], vx.UniformSampler(PATCH), 5, **options)


def assert_right(item):
    """Voxels and affine are those of the whole at the location."""
    x, y, z, *stop = item["location"].tolist()
    box = (slice(None), slice(x, stop[0]), slice(y, stop[1]), slice(z, stop[2]))
    np.testing.assert_array_equal(item["t1"]["data"], t1_voxels()[box])
    np.testing.assert_array_equal(item["seg"]["data"], label_voxels()[box])
    whole = vx.ScalarImage(tensor=t1_voxels(), affine=AFFINE)
    np.testing.assert_allclose(item["t1"]["affine"], whole[box[1:]].affine, atol=1e-12)


def places(batches):
    return [tuple(row) for batch in batches for row in batch["location"].tolist()]


def test_items_read_as_torchios(subject):
    item = dataset(subject)[3]
    assert_right(item)
    assert item["t1"]["data"].shape == (1, *PATCH)
    assert item["t1"]["data"].dtype == torch.int32
    assert item["location"].dtype == torch.int64
    assert item["age"] == 40
    assert item["seg"]["type"] == vx.LABEL
    assert isinstance(item, dict)


def test_one_read_per_image_and_no_voxel_too_many(subject):
    patches = dataset(subject)
    patches[0]
    with count_reads() as reads:
        patches[1]
    assert reads.calls == 2
    assert reads.voxels == 2 * np.prod(PATCH)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_for_any_number_of_workers(subject, workers):
    loader = DataLoader(dataset(subject), batch_size=4, num_workers=workers)
    batches = list(loader)
    expected = [dataset(subject)[index] for index in range(10)]
    assert places(batches) == [tuple(item["location"].tolist()) for item in expected]
    data = torch.cat([batch["t1"]["data"] for batch in batches])
    assert torch.equal(data, torch.stack([item["t1"]["data"] for item in expected]))
    batch = batches[0]
    assert batch["t1"]["data"].permute(0, 1, 4, 3, 2).is_contiguous()  # the files' order
    assert batch["t1"]["affine"].shape == (4, 4, 4)
    assert batch["t1"]["stem"] == [expected[0]["t1"]["stem"]] * 4
    assert batch["age"].tolist() == [40] * 4


def test_spawned_and_persistent_workers_follow_the_epoch(tmp_path):
    patches = dataset(archived(tmp_path))
    loader = DataLoader(
        patches,
        batch_size=5,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context="spawn",
    )
    first = places(loader)
    patches.set_epoch(1)
    second = places(loader)
    patches.set_epoch(0)
    assert places(loader) == first != second


def test_a_run_resumes_by_index(subject):
    patches = dataset(subject, seed=3)
    patches.set_epoch(7)
    again = dataset(subject, seed=3)
    again.set_epoch(7)
    assert torch.equal(again[8]["t1"]["data"], patches[8]["t1"]["data"])
    again.set_epoch(8)
    assert not torch.equal(again[8]["location"], patches[8]["location"])
    assert not torch.equal(dataset(subject, seed=4)[8]["location"], dataset(subject)[8]["location"])


def test_ranks_share_the_patches(subject):
    patches = dataset(subject)
    seen = []
    for rank in range(2):
        sampler = DistributedSampler(patches, num_replicas=2, rank=rank, shuffle=True)
        seen += places(DataLoader(patches, batch_size=2, sampler=sampler))
    assert sorted(seen) == sorted(places(DataLoader(patches)))


def test_pickled_without_what_is_open(subject):
    patches = dataset(subject)
    patches[0]
    again = pickle.loads(pickle.dumps(patches))
    assert torch.equal(again[6]["t1"]["data"], patches[6]["t1"]["data"])


def test_images_that_differ_in_type_from_subject_to_subject(subject):
    other = vx.Subject(
        t1=vx.ScalarImage(tensor=t1_voxels().astype("f4"), affine=AFFINE), seg=subject.seg, age=3
    )
    patches = vx.PatchDataset([subject, other], vx.UniformSampler(PATCH))
    items = patches.__getitems__([0, 1])
    assert [item["t1"]["data"].dtype for item in items] == [torch.int32, torch.float32]
    for item in items:
        assert_right(item)


def test_types_that_torch_does_not_have():
    voxels = (t1_voxels() % 65_536).astype("u2")
    item = vx.PatchDataset([{"t1": vx.ScalarImage(tensor=voxels)}], vx.UniformSampler(4))[0]
    assert item["t1"]["data"].dtype == torch.int32


def test_workers_decode_alone_unless_told_otherwise(subject):
    class Threads:
        def __call__(self, _patch):
            from voxarray.core import settings

            return settings.threads()

    loader = DataLoader(dataset(subject, transform=Threads()), batch_size=None, num_workers=1)
    assert set(loader) == {1}
    with dask.config.set({"voxarray.threads": 3}):
        assert set(loader) == {3}


@pytest.mark.parametrize("workers", [0, 2])
def test_torchio_transforms_depend_on_the_index(subject, workers):
    transform = vx.TorchIOTransform(
        tio.Compose([tio.RandomNoise(std=(1, 2)), tio.RandomFlip((0, 1, 2), 0.5)])
    )
    loader = DataLoader(dataset(subject, transform=transform), batch_size=5, num_workers=workers)
    batch = list(loader)[1]
    alone = dataset(subject, transform=transform)[7]
    assert torch.equal(batch["t1"]["data"][2], alone["t1"]["data"])
    assert torch.equal(batch["seg"]["data"][2], alone["seg"]["data"])
    assert set(np.unique(alone["seg"]["data"])) <= {0, 1, 2, 3}  # noise left the labels alone
    plain = dataset(subject)[7]
    assert not torch.equal(plain["t1"]["data"].float(), alone["t1"]["data"].float())


def test_transforms_leave_the_random_numbers_of_the_process_alone(subject):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    dataset(subject, transform=lambda _patch: torch.rand(1))[0]
    assert torch.equal(torch.rand(1), expected)


def test_monai_transforms_depend_on_the_index(subject):
    monai = pytest.importorskip("monai.transforms")
    flip = monai.RandFlipd(keys=["t1", "seg"], prob=0.5, spatial_axis=0)
    patches = dataset(subject, transform=vx.MonaiTransform(flip))
    items = [patches[index] for index in range(10)]
    plain = [dataset(subject)[index] for index in range(10)]
    flipped = [
        torch.equal(a["t1"]["data"], b["t1"]["data"].flip(1))
        for a, b in zip(items, plain, strict=True)
    ]
    assert 0 < sum(flipped) < 10
    assert type(items[0]["t1"]["data"]) is torch.Tensor
    assert torch.equal(patches[4]["t1"]["data"], items[4]["t1"]["data"])
    batch = next(iter(DataLoader(patches, batch_size=10)))
    assert torch.equal(batch["seg"]["data"], torch.stack([i["seg"]["data"] for i in items]))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_iterable_hands_out_the_same_patches_once(subject, workers):
    options = {"seed": 2, "shuffle_buffer": 3}
    patches = vx.IterablePatchDataset([subject] * 3, vx.UniformSampler(PATCH), 4, **options)
    loader = DataLoader(patches, batch_size=2, num_workers=workers)
    batches = list(loader)
    indexed = vx.PatchDataset([subject] * 3, vx.UniformSampler(PATCH), 4, seed=2)
    assert len(loader) == 6
    assert sorted(places(batches)) == sorted(places(DataLoader(indexed)))
    for batch in batches:
        for number in range(2):
            one = {name: batch[name]["data"][number] for name in ("t1", "seg")}
            item = {name: {"data": d, "affine": None} for name, d in one.items()}
            x, y, z, *stop = batch["location"][number].tolist()
            box = (slice(None), slice(x, stop[0]), slice(y, stop[1]), slice(z, stop[2]))
            np.testing.assert_array_equal(item["t1"]["data"], t1_voxels()[box])


def test_the_order_of_the_disk():
    assert by_shard([(0, 0, 9), (9, 0, 0), (0, 9, 0), (1, 1, 1)], (4, 4, 4)) == [3, 1, 2, 0]
    all_ = [
        indices_of(Part(rank, 2, worker, 2), 3, 5, 0, 0) for rank in range(2) for worker in range(2)
    ]
    assert [len(part) for part in all_] == [4, 4, 4, 4]  # 15 patches, one of them twice
    assert set(np.concatenate(all_)) == set(range(15))
    runs = list(by_subject(np.array([5, 6, 7, 0, 1]), 5))
    assert [(n, list(run)) for n, run in runs] == [(1, [5, 6, 7]), (0, [0, 1])]


def test_what_is_refused(subject):
    with pytest.raises(OutOfRangeError, match="the number of patches is 10"):
        dataset(subject)[10]
    assert torch.equal(dataset(subject)[-1]["location"], dataset(subject)[9]["location"])
    with pytest.raises(ValueError, match="patches_per_image must be"):
        vx.PatchDataset([subject], vx.UniformSampler(PATCH), 0)
    with pytest.raises(ValueError, match="seed must be"):
        dataset(subject, seed=-1)
    with pytest.raises(ValueError, match="shuffle_buffer must be"):
        vx.IterablePatchDataset([subject], vx.UniformSampler(PATCH), shuffle_buffer=0)


@pytest.mark.parametrize("kind", [vx.PatchDataset, vx.IterablePatchDataset])
def test_our_own_transforms_are_sent_to_the_subjects(subject, kind):
    for transform in (vx.ZNormalization(), vx.Compose([vx.Clamp(0, 1)])):
        with pytest.raises(TypeError, match=r"cohort.map\((ZNorm|Comp).* transform= is a function"):
            kind([subject], vx.UniformSampler(PATCH), transform=transform)

    class OfPatches(vx.Transform):
        def __call__(self, patch):
            return patch["t1"]["data"].shape

    assert next(iter(kind([subject], vx.UniformSampler(PATCH), transform=OfPatches()))) == (
        *t1_voxels().shape[:1],
        *PATCH,
    )


@pytest.mark.parametrize("kind", [vx.PatchDataset, vx.IterablePatchDataset])
def test_help_does_not_ask_for_transforms_that_are_refused(kind):
    """`Transform` is what voxarray calls its own, of subjects."""
    shown = str(inspect.signature(kind).parameters["transform"])
    assert "Callable[[Patch], Any] | None" in shown
    assert "Transform" not in shown


def test_an_error_names_the_subject_at_fault(subject, tmp_path):
    vx.ScalarImage(tensor=t1_voxels()[:, :4], affine=AFFINE).save(tmp_path / "small.nii")
    small = vx.Subject(t1=vx.ScalarImage(tmp_path / "small.nii"))
    for loader in ({}, {"num_workers": 1}):
        patches = vx.PatchDataset([subject, small], vx.UniformSampler(PATCH))
        with pytest.raises(vx.StateError, match=r"PATCH_TOO_LARGE[^~]*small"):
            list(DataLoader(patches, batch_size=2, **loader))
    with pytest.raises(KeyError, match=r"NO_SUCH_IMAGE.*small") as missing:
        vx.PatchDataset([subject, small], vx.LabelSampler(3, "seg"))[1]
    assert isinstance(missing.value, vx.MissingImageError)
    for workers in (0, 1):
        patches = vx.PatchDataset([subject, small], vx.LabelSampler(3, "seg"))
        with pytest.raises(vx.VoxarrayError, match=r"NO_SUCH_IMAGE.*small"):
            list(DataLoader(patches, batch_size=2, num_workers=workers))
    in_memory = vx.Subject(t1=vx.ScalarImage(tensor=t1_voxels()[:, :4]))
    with pytest.raises(vx.StateError, match=r"\[subjects\[1\]\]"):
        vx.PatchDataset([subject, in_memory], vx.UniformSampler(PATCH))[1]


@pytest.mark.parametrize("kind", [vx.PatchDataset, vx.IterablePatchDataset])
def test_a_dataset_takes_a_sequence_of_subjects_only(kind):
    image = vx.ScalarImage(tensor=np.ones((1, 8, 8, 8), "float32"))
    subject = vx.Subject(t1=image)
    for wrong in (subject, image, dict(subject), "a", {"t1": image}, 3, [image], [subject, image]):
        with pytest.raises(TypeError, match="subjects"):
            kind(wrong, vx.UniformSampler(4))
    for right in ([subject], (dict(subject),)):
        assert kind(right, vx.UniformSampler(4)) is not None
