"""Transforms of label maps against TorchIO 1.2.1, and against themselves in parts."""

from __future__ import annotations

import json
import pickle
import tracemalloc

import hypothesis.strategies as st
import numpy as np
import pytest
import torchio as tio
from hypothesis import HealthCheck, example, given, settings
from scipy.ndimage import gaussian_filter, label

import voxarray as vx
from voxarray.geometry.selection import Selection
from voxarray.ops import connected_components
from voxarray.ops.connected_components import LargestComponent, largest_component
from voxarray.source.array import ArraySource
from voxarray.statistics import cache
from voxarray.testing.counting import count_reads
from voxarray.testing.strategies import affines, index_expressions

CASES = {
    "one-hot": ("OneHot", {}),
    "one-hot-classes": ("OneHot", {"num_classes": 6}),
    "remap": ("RemapLabels", {"remapping": {1: 7, 3: 1, 9: 2}}),
    "remap-swap": ("RemapLabels", {"remapping": {0: 1, 1: 0}}),
    "remap-side": ("RemapLabels", {"remapping": {1: 7}, "masking_method": "Right"}),
    "remap-bounds": ("RemapLabels", {"remapping": {1: 7}, "masking_method": (1, 2, 3)}),
    "remap-function": ("RemapLabels", {"remapping": {1: 7}, "masking_method": lambda x: x > 0}),
    "remove": ("RemoveLabels", {"labels": [1, 3]}),
    "remove-background": ("RemoveLabels", {"labels": [1, 2], "background_label": 3}),
    "sequential": ("SequentialLabels", {}),
    "largest": ("KeepLargestComponent", {}),
    "contour": ("Contour", {}),
}


@pytest.fixture(autouse=True)
def _nothing_remembered():
    cache.forget()


def segmentation(dtype="uint8", shape=(14, 13, 12), seed=0, labels=(0, 1, 3, 4)):
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=shape), 1.5)
    levels = np.quantile(smooth, [0.4, 0.7, 0.9])
    return np.asarray(labels, dtype)[np.digitize(smooth, levels)][None]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32"])
@pytest.mark.parametrize("case", CASES)
def test_as_torchio(case, dtype):
    name, arguments = CASES[case]
    affine = np.diag([1.5, 2, 0.7, 1])
    for seed in range(3):
        voxels = segmentation(dtype, seed=seed)
        ours, theirs = (
            lib.Subject(
                t1=lib.ScalarImage(tensor=voxels, affine=affine),
                seg=lib.LabelMap(tensor=voxels, affine=affine),
            )
            for lib in (vx, tio)
        )
        found = getattr(vx, name)(**arguments)(ours)
        expected = getattr(tio, name)(**arguments)(theirs)
        assert found["seg"].numpy().dtype == expected["seg"].numpy().dtype
        assert np.array_equal(found["seg"].numpy(), expected["seg"].numpy())
        assert found["seg"].shape == expected["seg"].shape
        assert isinstance(found["seg"], vx.LabelMap)
        assert np.array_equal(found["t1"].numpy(), voxels)  # intensities are left alone
        assert np.array_equal(found["seg"].affine, affine)


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), affine=affines())
def test_label_transforms_of_chunks_equal_those_of_the_volume(case, data, affine):
    name, arguments = CASES[case]
    shape = data.draw(st.tuples(*[st.integers(7, 14)] * 3))
    voxels = segmentation("int16", shape, data.draw(st.integers(0, 99)))
    image = vx.LabelMap(tensor=voxels, affine=affine)
    transform = getattr(vx, name)(**arguments)
    whole = transform(image).numpy()
    chunks = (1, *data.draw(st.tuples(*[st.integers((n + 1) // 2, n) for n in shape])))
    assert np.array_equal(transform(image.rechunk(chunks)).numpy(), whole)
    key = data.draw(index_expressions(whole.shape))
    expected = vx.LabelMap(tensor=whole)[key].numpy()
    assert np.array_equal(transform(image)[key].numpy(), expected)
    assert np.array_equal(pickle.loads(pickle.dumps(transform(image))).numpy(), whole)


@pytest.mark.parametrize("case", CASES)
def test_replayed(case, tmp_path):
    name, arguments = CASES[case]
    image = vx.LabelMap(tensor=segmentation())
    result = getattr(vx, name)(**arguments)(image)
    assert json.dumps(result.history)
    if callable(arguments.get("masking_method")):
        return
    result.save(tmp_path / "a.ome.zarr")
    again = vx.replay(tmp_path / "a.ome.zarr", image)
    assert np.array_equal(again.numpy(), result.numpy())


@given(
    seed=st.integers(0, 999),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    density=st.sampled_from([0.0, 0.2, 0.35, 0.5, 1.0]),
    block=st.integers(1, 9),
)
@example(seed=0, shape=(9, 9, 9), density=0.35, block=1)
def test_components_across_blocks(seed, shape, density, block):
    voxels = (np.random.default_rng(seed).random((1, *shape)) < density).astype("u1")
    source = ArraySource(voxels, np.eye(4))
    found = LargestComponent(source, largest_component(source, block), block)
    image = vx.LabelMap(tensor=vx.LabelMap(tensor=voxels).array)
    # Numbered in the order of the disk, which decides among components of one size.
    objects, number = label(voxels[0].transpose(2, 1, 0))
    expected = np.zeros(objects.shape, bool)
    if number:
        expected = objects == 1 + np.argmax(np.bincount(objects.ravel())[1:])
    whole = found.read(vx.LabelMap(tensor=voxels).source.selection)
    assert np.array_equal(whole[0].transpose(2, 1, 0), expected)
    assert image.shape == voxels.shape


@pytest.mark.parametrize(("shape", "density"), [((128, 128, 128), 0.2), ((2048, 2048, 1), 1.0)])
def test_components_that_lie_within_a_block_are_not_held(shape, density):
    voxels = np.random.default_rng(0).random((1, *shape), np.float32) < density
    source = ArraySource(voxels, np.eye(4))
    largest_component(source)
    tracemalloc.start()
    try:
        largest_component(source)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 << 20


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("channels", [range(1), range(3)])
def test_one_hot_takes_no_more_memory_than_it_says(dtype, channels):
    labels = vx.OneHot(3)(vx.LabelMap(tensor=np.ones((1, 80, 80, 80), dtype)))
    operation = labels.source.base
    selection = Selection((channels, range(80), range(80), range(80)))
    parts = [operation.base.read(part) for part in operation.needs(selection)]
    tracemalloc.start()
    try:
        operation.compute(selection, parts)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak + parts[0].nbytes <= operation.cost(selection) + (1 << 16)


def test_labels_that_the_type_would_round_are_no_class():
    voxels = np.full((1, 2, 2, 2), 2048, np.float16)  # it holds no 2049
    ones = vx.OneHot(2050)(vx.LabelMap(tensor=voxels))[2046:, :, :, :].numpy()
    assert [int(channel.sum()) for channel in ones] == [0, 0, 8, 0]


def test_each_block_is_labelled_once(monkeypatch):
    voxels = segmentation("uint8", (9, 20, 30))
    source = ArraySource(voxels, np.eye(4))
    found = LargestComponent(source, largest_component(source, 8), 8)
    labelled = []
    original = connected_components._labelled
    monkeypatch.setattr(
        connected_components, "_labelled", lambda v: labelled.append(v) or original(v)
    )
    monkeypatch.setattr("voxarray.ops.operation.PART_BYTES", 1)  # less than any block costs
    found.read(vx.LabelMap(tensor=voxels).source.selection)
    assert len(labelled) <= 2 * 3 * 4


def test_reads(tmp_path):
    voxels = segmentation("uint8", (40, 30, 20))
    vx.LabelMap(tensor=voxels).save(tmp_path / "seg.nii")
    image = vx.LabelMap(tmp_path / "seg.nii")
    passes = {"OneHot": 1, "SequentialLabels": 1, "KeepLargestComponent": 1}
    for case, (name, arguments) in CASES.items():
        cache.forget()
        needed = 0 if case == "one-hot-classes" else passes.get(name, 0)
        with count_reads() as reads:
            result = getattr(vx, name)(**arguments)(image)
            assert repr(result)
            assert reads.voxels == needed * voxels.size, case
            before = reads.voxels
            result[3:5, 4:6, 7:9].numpy()
            limit = voxels.size + 99 if case in ("largest", "remap-function") else 4 * 4 * 4
            assert reads.voxels - before <= limit, case


def test_types_of_labels():
    small = vx.LabelMap(tensor=segmentation())
    assert vx.RemapLabels({1: 300})(small).dtype == np.dtype("uint16")
    assert vx.RemapLabels({1: 300})(small).numpy().max() == 300
    assert vx.RemapLabels({1: -1})(small).dtype == np.dtype("int16")
    masked = vx.RemapLabels({1: 300}, "Left")(small)
    assert masked.dtype == np.dtype("uint16")
    assert masked.numpy()[0, 7:].max() == 4
    floats = vx.LabelMap(tensor=segmentation("float32"))
    for transform in (vx.RemapLabels({1: 0.5}), vx.KeepLargestComponent(), vx.Contour()):
        assert transform(floats).numpy().shape == floats.shape
    assert vx.SequentialLabels()(floats).count_labels().keys() == {0, 1, 2, 3}


def test_refusals():
    several = vx.LabelMap(tensor=np.zeros((2, 3, 3, 3), "u1"))
    for transform in (vx.OneHot(), vx.OneHot(3), vx.KeepLargestComponent(), vx.Contour()):
        with pytest.raises(RuntimeError, match="channels must be 1, but it is 2"):
            transform(several)
    image = vx.LabelMap(tensor=segmentation("int16", labels=(-1, 0, 1, 2)))
    with pytest.raises(vx.UnsupportedError, match="labels from -1 to 2") as error:
        vx.OneHot()(image)
    assert error.value.code == "LABEL_WITHOUT_CLASS"
    with pytest.raises(vx.UnsupportedError, match="num_classes=4 allows labels from 0 to 3 only"):
        vx.OneHot(4)(vx.LabelMap(tensor=segmentation())).numpy()
    with pytest.raises(ValueError, match="num_classes is positive"):
        vx.OneHot(0)
    with pytest.raises(ValueError, match="labels must be numbers"):
        vx.RemapLabels({"a": 1})
    with pytest.raises(ValueError, match="are whole numbers"):
        vx.RemapLabels({1: 0.5})(image)
