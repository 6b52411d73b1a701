"""Predictions patch by patch, against the whole volume in RAM and MONAI's sliding window."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import dask
import numpy as np
import pytest
import torch

import voxarray as vx
from inference.reference import blended, clear_of, network
from voxarray.core.memory import format_bytes

BLENDS = ("hann", "gaussian", "crop", "average")


SHAPE = (19, 22, 13)


def scan(shape=SHAPE, channels=1, seed=0) -> vx.ScalarImage:
    voxels = np.random.default_rng(seed).random((channels, *shape), np.float32)
    return vx.ScalarImage(tensor=voxels, affine=np.diag([0.75, 0.5, 2.5, 1]))


LAYOUTS = [
    *((2, 0.0, (8, 8, 8)), (5, 0.5, (6, 10, 5))),
    *((117, 0.25, (12, 12, 12)), (3, 0.75, (8, 8, 12))),
]


@pytest.mark.parametrize(
    ("classes", "overlap", "patch", "blend"),
    [
        # Each layout and each blend twice; all pairs in the soak.
        pytest.param(*layout, blend, marks=() if (row - column) % 2 == 0 else pytest.mark.slow)
        for row, layout in enumerate(LAYOUTS)
        for column, blend in enumerate(BLENDS)
    ],
    ids=str,
)
def test_labels_equal_those_of_the_whole_volume(tmp_path, blend, classes, overlap, patch):
    image, model = scan(), network(classes)
    step = [max(1, int(p * (1 - overlap))) for p in patch]
    reference = blended(
        model, image.numpy(), patch, [p - s for p, s in zip(patch, step, strict=True)], blend
    )
    labels = vx.infer(
        model, image, tmp_path / "a.nii", patch_size=patch, overlap=overlap, blend=blend
    )
    clear = clear_of(reference)
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(labels.numpy()[0][clear], reference.argmax(0)[clear])
    np.testing.assert_array_equal(labels.affine, image.affine)


@pytest.mark.parametrize(("blend", "mode"), [("gaussian", "gaussian"), ("average", "constant")])
@pytest.mark.parametrize("overlap", [0.25, 0.6])
@pytest.mark.parametrize("patch", [(8, 8, 8), (25, 7, 8)], ids=str)
def test_logits_equal_those_of_monai(tmp_path, blend, mode, overlap, patch):
    inferers = pytest.importorskip("monai.inferers")
    image, model = scan(), network(3)
    with torch.no_grad():
        reference = inferers.sliding_window_inference(
            image.data[None], patch, 2, model, overlap=overlap, mode=mode
        )[0]
    found = vx.infer(
        model,
        image,
        tmp_path / "a.ome.zarr",
        patch_size=patch,
        overlap=overlap,
        blend=blend,
        output="logits",
        batch_size=3,
    )
    np.testing.assert_allclose(found.numpy(), reference.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("overlap", "voxels"),
    [(0, (0, 0, 0)), (3, (3, 3, 3)), ((1, 4, 2), (1, 4, 2)), ([0.5, 3, 0], (4, 3, 0))],
    ids=str,
)
def test_whole_numbers_of_an_overlap_are_voxels(tmp_path, overlap, voxels):
    image, model = scan(), network(3)
    found = vx.infer(
        model, image, tmp_path / "a.nii", patch_size=8, overlap=overlap, output="logits"
    )
    expected = blended(model, image.numpy(), (8, 8, 8), voxels, "hann")
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    other = blended(model, image.numpy(), (8, 8, 8), (2, 2, 2), "hann")
    assert np.abs(found.numpy() - other).max() > 1e-3


def test_crop_equals_the_grid_aggregator(tmp_path):
    image, model = scan(), network(2)
    sampler = vx.GridSampler(vx.Subject(image=image), (8, 10, 6), (2, 4, 4))
    aggregator = vx.GridAggregator(sampler, "crop")
    for patch in sampler:
        with torch.no_grad():
            found = model(patch["image"]["data"][None])
        aggregator.add_batch(found, patch["location"][None])
    labels = vx.infer(
        model, image, tmp_path / "a.nii", patch_size=(8, 10, 6), overlap=(2, 4, 4), blend="crop"
    )
    whole = aggregator.get_output_tensor().numpy()
    np.testing.assert_array_equal(labels.numpy()[0], whole.argmax(0))


@pytest.mark.parametrize(
    ("more", "accumulate"),
    [
        ({}, "float16"),
        ({"output": "probabilities"}, "float32"),
        pytest.param({}, "float32", marks=pytest.mark.slow),
        pytest.param({"output": "probabilities"}, "float16", marks=pytest.mark.slow),
    ],
)
def test_sums_on_the_disk_make_the_same_result(tmp_path, monkeypatch, accumulate, more):
    module = import_module("voxarray.inference.inference")
    from voxarray.inference.scratch_file import ScratchFile

    image, model = scan((40, 36, 38)), network(20)
    arguments = {"patch_size": 8, "accumulate": accumulate, **more}
    plans, written = [], []
    place, write, probe = module.placed, ScratchFile.write, module.probe
    # What the process takes meanwhile differs by pages, and the budget here is one of pages.
    monkeypatch.setattr(module, "probe", lambda *given: replace(probe(*given), own_bytes=0))
    monkeypatch.setattr(
        module, "placed", lambda *given: plans.append((place(*given), given[-1])) or plans[-1][0]
    )
    monkeypatch.setattr(
        ScratchFile, "write", lambda *given: written.append(given[2].nbytes) or write(*given)
    )
    plain = vx.infer(model, image, tmp_path / "plain.ome.zarr", **arguments)
    assert not written
    plan, writing = plans[0]
    budget = plan.peak + writing - plan.cost.cells // 2
    with dask.config.set({"voxarray.memory-budget": budget}):
        small = vx.infer(model, image, tmp_path / "small.ome.zarr", **arguments)
    assert sum(written) == plans[1][0].cost.moved > 1 << 19
    assert plans[1][0].peak + writing <= budget
    np.testing.assert_array_equal(small.numpy(), plain.numpy())
    monkeypatch.setattr(
        "voxarray.inference.scratch_file.shutil.disk_usage", lambda _: SimpleNamespace(free=10)
    )
    with (
        dask.config.set({"voxarray.memory-budget": budget}),
        pytest.raises(vx.ArchiveError) as caught,
    ):
        vx.infer(model, image, tmp_path / "full.ome.zarr", **arguments)
    assert caught.value.code == "NO_SPACE"


def test_float16_sums_differ_only_where_the_best_are_close(tmp_path):
    image, model = scan(), network(5)
    reference = blended(model, image.numpy(), (8, 8, 8), (4, 4, 4), "hann")
    found = vx.infer(model, image, tmp_path / "a.nii", patch_size=8, accumulate="float16")
    clear = clear_of(reference, 2e-3)
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(found.numpy()[0][clear], reference.argmax(0)[clear])


@pytest.mark.parametrize("shape", [(40, 31, 1), (1, 31, 40), (5, 5, 5), (1, 1, 1)], ids=str)
def test_thin_and_small_volumes(tmp_path, shape):
    image, model = scan(shape), network(3)
    patch = (16, 16, 1) if shape[2] == 1 else (8, 16, 16)
    reference = blended(model, image.numpy(), patch, [p // 2 for p in patch], "hann")
    labels = vx.infer(model, image, tmp_path / "a.nii", patch_size=patch)
    np.testing.assert_array_equal(labels.numpy()[0], reference.argmax(0))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float64"])
def test_voxels_of_any_type_become_float32(tmp_path, dtype):
    voxels = np.random.default_rng(1).integers(0, 200, (1, 20, 18, 22)).astype(dtype)
    vx.ScalarImage(tensor=voxels).save(tmp_path / "scan.nii.gz")
    model = network(2)
    reference = blended(model, voxels, (8, 8, 8), (4, 4, 4), "hann")
    labels = vx.infer(model, tmp_path / "scan.nii.gz", tmp_path / "a.nii", patch_size=8)
    clear = clear_of(reference, 1e-3)
    np.testing.assert_array_equal(labels.numpy()[0][clear], reference.argmax(0)[clear])


def test_complex_voxels_are_refused(tmp_path):
    image = vx.ScalarImage(tensor=np.zeros((1, 8, 8, 8), np.complex64))
    with pytest.raises(vx.UnsupportedError) as caught:
        vx.infer(network(2), image, tmp_path / "a.nii", patch_size=8)
    assert caught.value.code == "UNSUPPORTED_DTYPE"


def test_probabilities_add_up_and_have_the_type_asked_for(tmp_path):
    image, model = scan(), network(4)
    reference = blended(model, image.numpy(), (8, 8, 8), (4, 4, 4), "hann")
    powers = np.exp(reference - reference.max(0))
    powers /= powers.sum(0)
    arguments = {"patch_size": 8, "output": "probabilities"}
    half = vx.infer(model, image, tmp_path / "half.ome.zarr", **arguments)
    byte = vx.infer(model, image, tmp_path / "byte.ome.zarr", dtype="uint8", **arguments)
    file = vx.infer(model, image, tmp_path / "file.nii.gz", dtype="uint8", **arguments)
    assert (half.source.dtype, half.shape) == (np.float16, (4, 19, 22, 13))
    np.testing.assert_allclose(half.numpy(), powers, atol=1e-3)
    np.testing.assert_allclose(byte.numpy(), powers, atol=0.5 / 255 + 1e-5)
    np.testing.assert_allclose(file.numpy(), byte.numpy(), atol=1e-7)
    assert vx.ScalarImage(tmp_path / "byte.ome.zarr").source.unscaled().dtype == np.uint8


def test_one_class_is_a_mask_above_a_threshold(tmp_path):
    image, model = scan(), network(1)
    logits = blended(model, image.numpy(), (8, 8, 8), (4, 4, 4), "hann")[0]
    chance = 1 / (1 + np.exp(-logits))
    for threshold in (None, 0.4):
        mask = vx.infer(
            model,
            image,
            tmp_path / "a.nii",
            patch_size=8,
            threshold=threshold,
            classes={7: "lesion"},
            overwrite=True,
        ).numpy()[0]
        clear = np.abs(chance - (threshold or 0.5)) > 1e-5
        np.testing.assert_array_equal(mask[clear], 7 * (chance >= (threshold or 0.5))[clear])


def test_overlapping_classes_have_a_channel_each(tmp_path):
    image, model = scan(), network(3)
    logits = blended(model, image.numpy(), (8, 8, 8), (4, 4, 4), "hann")
    for suffix in (".ome.zarr", ".nii.gz"):
        masks = vx.infer(model, image, tmp_path / f"a{suffix}", patch_size=8, activation="sigmoid")
        clear = np.abs(logits) > 1e-5
        np.testing.assert_array_equal(masks.numpy()[clear], (logits > 0)[clear])


@pytest.mark.parametrize("classes", [["liver", "spleen"], {0: "liver", 1: ("spleen", (9, 9, 9))}])
def test_names_of_overlapping_classes_are_not_those_of_0_and_1(tmp_path, classes):
    """Every 0 was named liver, and the 1 of the liver's own channel spleen."""
    masks = vx.infer(
        network(2),
        scan(),
        tmp_path / "a.ome.zarr",
        patch_size=8,
        activation="sigmoid",
        classes=classes,
    )
    assert masks.shape[0] == 2
    assert masks.source.label_table == ()
    told = [step for step in masks.history if step["operation"] == "infer"][-1]["arguments"]
    assert [name for _, name, *_ in told["classes"]] == ["liver", "spleen"]


def test_threshold_of_a_softmax_leaves_background(tmp_path):
    image, model = scan(), network(4)
    logits = blended(model, image.numpy(), (8, 8, 8), (4, 4, 4), "hann")
    powers = np.exp(logits - logits.max(0))
    best = powers.max(0) / powers.sum(0)
    expected = np.where(best >= 0.4, logits.argmax(0), 0)
    found = vx.infer(model, image, tmp_path / "a.nii", patch_size=8, threshold=0.4)
    clear = clear_of(logits) & (np.abs(best - 0.4) > 1e-5)
    np.testing.assert_array_equal(found.numpy()[0][clear], expected[clear])
    assert (found.numpy() == 0).any()


def test_regression_is_what_the_network_returns(tmp_path):
    image = scan()
    found = vx.infer(
        lambda x: x * 2 + 1, image, tmp_path / "a.nii", patch_size=8, output="regression"
    )
    np.testing.assert_allclose(found.numpy(), image.numpy() * 2 + 1, rtol=1e-6)
    assert isinstance(found, vx.ScalarImage)


def test_names_colours_and_values_of_classes_are_kept(tmp_path):
    image, model = scan(), network(3)
    plain = vx.infer(model, image, tmp_path / "plain.nii", patch_size=8).numpy()
    classes = {0: ("background", "#102030"), 500: ("liver", (200, 30, 30)), 9: "kidney"}
    named = vx.infer(model, image, tmp_path / "a.ome.zarr", patch_size=8, classes=classes)
    table = {label.value: label for label in named.source.label_table}
    np.testing.assert_array_equal(named.numpy(), np.array([0, 500, 9])[plain.astype(int)])
    assert (table[500].name, table[500].colour) == ("liver", (200, 30, 30, 255))
    assert (table[0].name, table[0].colour) == ("background", (16, 32, 48, 255))
    assert table[9].name == "kidney"


def test_an_ensemble_and_flips_are_averaged(tmp_path):
    image, models = scan(), [network(3), network(3)]
    torch.nn.init.normal_(models[1].weight)

    def mean(batch):
        views = [(), (2,), (3, 4)]
        return sum(m(batch.flip(v)).flip(v) if v else m(batch) for m in models for v in views) / 6

    reference = blended(mean, image.numpy(), (8, 8, 8), (4, 4, 4), "hann")
    found = vx.infer(
        models,
        image,
        tmp_path / "a.ome.zarr",
        patch_size=8,
        flips=(0, ("y", 2)),
        output="logits",
    )
    np.testing.assert_allclose(found.numpy(), reference, atol=2e-6)


def test_all_flips_are_seven():
    from voxarray.inference.flips import parsed_flips

    assert len(parsed_flips("all")) == 7
    for wrong in ((3,), ("w",), ((0, 0),), (0, "x"), ((),), None, 1.5, (None,), [[[0]]]):
        with pytest.raises(ValueError, match="flips"):
            parsed_flips(wrong)


def test_a_module_is_in_evaluation_mode_and_put_back(tmp_path):
    model = torch.nn.Sequential(network(2), torch.nn.Dropout(0.9))
    model[0].eval()
    first = vx.infer(model, scan(), tmp_path / "a.nii", patch_size=8).numpy()
    second = vx.infer(model, scan(), tmp_path / "b.nii", patch_size=8).numpy()
    np.testing.assert_array_equal(first, second)
    assert (model.training, model[0].training, model[1].training) == (True, False, True)


def test_a_module_used_twice_at_once_stays_in_evaluation_mode():
    from voxarray.inference.network import Network

    model = network(2).train()
    shared = Network([model])
    with shared.ready():
        with shared.ready():
            assert not model.training
        assert not model.training
    assert model.training


def test_reruns_are_equal_and_say_what_made_them(tmp_path):
    image, model = scan(), network(3)
    image.save(tmp_path / "scan.nii.gz")
    made = [
        vx.infer(model, tmp_path / "scan.nii.gz", tmp_path / f"{n}.ome.zarr", patch_size=8)
        for n in range(2)
    ]
    folders = [tmp_path / f"{n}.ome.zarr" for n in range(2)]
    files = [sorted(p.relative_to(f) for p in f.rglob("*") if p.is_file()) for f in folders]
    assert files[0] == files[1]
    for name in files[0]:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name
    (step, *_) = [s for s in made[0].history if s["operation"] == "infer"]
    assert step["arguments"]["patch_size"] == [8, 8, 8]
    assert len(step["arguments"]["model"]) == 64
    torch.nn.init.normal_(model.weight)
    other = vx.infer(model, image, tmp_path / "c.ome.zarr", patch_size=8)
    (step2, *_) = [s for s in other.history if s["operation"] == "infer"]
    assert step2["arguments"]["model"] != step["arguments"]["model"]


def test_channels_come_in_the_order_that_was_named(tmp_path):
    t1, t2 = scan(seed=1), scan(seed=2)
    subject = vx.Subject(t2=t2, t1=t1, mask=vx.LabelMap(tensor=np.zeros((1, 19, 22, 13), "u1")))
    model = network(2, channels=2)
    both = np.concatenate([t1.numpy(), t2.numpy()])
    reference = blended(model, both, (8, 8, 8), (4, 4, 4), "hann")
    found = vx.infer(model, subject, tmp_path / "a.nii", patch_size=8, channels=["t1", "t2"])
    clear = clear_of(reference)
    np.testing.assert_array_equal(found.numpy()[0][clear], reference.argmax(0)[clear])
    for channels, code in ((None, "CHANNELS_UNNAMED"), (["t1", "flair"], "MISSING_CHANNELS")):
        with pytest.raises(vx.StateError) as caught:
            vx.infer(model, subject, tmp_path / "b.nii", patch_size=8, channels=channels)
        assert caught.value.code == code


def test_channels_on_other_grids_are_refused(tmp_path):
    subject = vx.Subject(a=scan(), b=scan((37, 41, 30)))
    with pytest.raises(vx.StateError) as caught:
        vx.infer(network(2, 2), subject, tmp_path / "a.nii", patch_size=8, channels=["a", "b"])
    assert caught.value.code == "GRIDS_DIFFER"


# --- What goes wrong ------------------------------------------------------------------------------


def raising(batch):
    raise KeyError("no such layer")


def changing(batch):
    changing.calls += 1
    return batch.repeat(1, 2 + (changing.calls > 3), 1, 1, 1)


def nan_later(batch):
    return torch.cat([batch, batch / 0 * (batch > 2)], 1)


def full(batch):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def lost_later(batch):
    if batch.any():  # the batch of zeros, which is measured, goes well
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    return batch.repeat(1, 2, 1, 1, 1)


MISTAKES = [
    ("DEVICE_FULL", full, {}),
    ("DEVICE_LOST", lost_later, {}),
    ("MODEL_FAILED", raising, {}),
    ("BAD_PREDICTION", lambda b: b[:, :, 1:], {}),
    ("BAD_PREDICTION", lambda b: b[0], {}),
    ("BAD_PREDICTION", lambda b: [b, b], {}),
    ("BAD_PREDICTION", lambda b: b[:, :0], {}),
    ("BAD_PREDICTION", lambda b: b.to(torch.complex64), {}),
    ("CLASSES_CHANGED", lambda b: b.repeat(1, 3, 1, 1, 1), {"classes": 4}),
    ("CLASSES_CHANGED", changing, {}),
    ("NAN_PREDICTION", lambda b: b * float("nan"), {}),
    ("NO_DEVICE", lambda b: b, {"device": "nonsense"}),
    ("NO_DEVICE", lambda b: b, {"device": "cuda:7"}),
    ("NO_DEVICE", lambda b: b, {"device": "meta"}),
    ("NO_DEVICE", lambda b: b, {"device": 1.5}),
    ("BAD_MODEL", 5, {}),
    ("BAD_MODEL", [], {}),
]


@pytest.mark.parametrize(
    ("code", "model", "more"), MISTAKES, ids=[f"{n}-{m[0]}" for n, m in enumerate(MISTAKES)]
)
@pytest.mark.parametrize("suffix", [".ome.zarr", ".nii.gz"])
def test_what_a_model_does_wrong_is_named_and_nothing_is_left(tmp_path, code, model, more, suffix):
    changing.calls = 0
    if "device" in more and torch.cuda.is_available():
        pytest.skip("there is a card")
    with pytest.raises(vx.ModelError) as caught:
        vx.infer(model, scan(), tmp_path / f"a{suffix}", patch_size=8, **more)
    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_infinite_logits_are_no_mistake(tmp_path):
    def masked(batch):
        return torch.cat([batch, torch.full_like(batch, -torch.inf)], 1)

    labels = vx.infer(masked, scan(), tmp_path / "a.nii", patch_size=8)
    assert labels.count_labels() == {0: 19 * 22 * 13}


@pytest.mark.parametrize(
    "arguments",
    [
        {"patch_size": 0},
        {"patch_size": (8, 8)},
        {"patch_size": None},
        {"overlap": 1.0},
        {"overlap": -1},
        {"overlap": 16},
        {"overlap": "half"},
        {"overlap": (0.5, 0.5)},
        {"blend": "linear"},
        {"output": "mask"},
        {"activation": "relu"},
        {"threshold": 2.0},
        {"threshold": 0.5, "output": "logits"},
        {"activation": "softmax", "output": "regression"},
        {"batch_size": 0},
        {"accumulate": "int8"},
        {"dtype": "float32"},
        {"classes": 0},
        {"classes": {-1: "a"}},
        {"classes": {0: ("a", (1, 2))}},
        {"classes": {2: ("a", "#12345")}},
        {"classes": {3: ("a", (1, 2, 256))}},
        {"flips": (4,)},
        {"threshold": "half"},
        {"amp": "yes"},
        {"dtype": "nothing"},
    ],
    ids=lambda one: f"{next(iter(one))}-{str(next(iter(one.values())))[:8]}",
)
def test_arguments_that_make_no_sense(tmp_path, arguments):
    called = []

    def model(batch):
        called.append(1)
        return batch

    with pytest.raises(ValueError, match=next(iter(arguments)).split("_")[0]):
        vx.infer(model, scan(), tmp_path / "a.nii", **{"patch_size": 8, **arguments})
    assert not called


def test_numbers_of_numpy_are_numbers(tmp_path):
    plain = {"batch_size": 2, "dtype": "uint16", "classes": {0: "a", 3: "b"}, "threshold": 1}
    given = {"batch_size": np.int64(2), "dtype": np.uint16, "threshold": np.float32(1)}
    given["classes"] = {np.uint8(0): "a", np.uint8(3): "b"}
    made = [
        vx.infer(network(2), scan(), tmp_path / f"{n}.ome.zarr", patch_size=8, **one)
        for n, one in enumerate((plain, given))
    ]
    steps = [s["arguments"] for one in made for s in one.history if s["operation"] == "infer"]
    assert steps[0] == steps[1]


@pytest.mark.parametrize("wrong", [{"preprocess": 5}, {"channels": 5}, {"destination": b"a.nii"}])
def test_arguments_of_another_kind_are_named(tmp_path, wrong):
    given = {"destination": tmp_path / "a.nii", "patch_size": 8, **wrong}
    with pytest.raises(TypeError, match=f"{next(iter(wrong))} is a"):
        vx.infer(network(2), scan(), **given)


def test_destinations(tmp_path):
    image, model = scan(), network(2)
    with pytest.raises(vx.StateError) as caught:
        vx.infer(model, image, patch_size=8)
    assert caught.value.code == "NO_DESTINATION"
    vx.infer(model, image, tmp_path / "a.ome.zarr", patch_size=8)
    with pytest.raises(vx.ArchiveExistsError):
        vx.infer(model, image, tmp_path / "a.ome.zarr", patch_size=8)
    with pytest.raises(vx.UnsupportedError) as caught:
        vx.infer(model, image, tmp_path / "a.xyz", patch_size=8)
    assert caught.value.code == "UNKNOWN_SUFFIX"


def test_a_broken_rerun_leaves_what_was_there(tmp_path):
    image, model = scan(), network(2)
    first = vx.infer(model, image, tmp_path / "a.ome.zarr", patch_size=8).numpy()
    with pytest.raises(vx.ModelError):
        vx.infer(raising, image, tmp_path / "a.ome.zarr", patch_size=8, classes=2, overwrite=True)
    np.testing.assert_array_equal(vx.LabelMap(tmp_path / "a.ome.zarr").numpy(), first)


def test_what_does_not_fit_is_refused_before_a_voxel_is_read(tmp_path, monkeypatch):
    from voxarray.tensors.convert import TensorSource

    image, model, reads = scan((40, 36, 38)), network(20), []
    monkeypatch.setattr(TensorSource, "read", lambda *given: reads.append(given))
    with (
        dask.config.set({"voxarray.memory-budget": "100 MiB"}),
        pytest.raises(vx.MemoryBudgetError, match="patch_size"),
    ):
        vx.infer(model, image, tmp_path / "a.nii", patch_size=40, classes=300)
    assert not reads
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_needs_more_than_the_budget_is_refused(tmp_path, caplog):
    def greedy(batch):
        layers = torch.ones(200 << 18)  # 200 MiB
        time.sleep(0.02)
        return batch.repeat(1, 2, 1, 1, 1) + layers[-1]

    image = scan()
    with caplog.at_level("INFO", "voxarray.inference"):
        vx.infer(greedy, image, tmp_path / "a.nii", patch_size=16)
    placed = caplog.records[-1].args[1]
    if not placed.network:
        pytest.skip("this system does not tell what a process has")
    assert 190 << 20 < placed.network < 260 << 20
    assert f"the network's own: {format_bytes(placed.network)}" in caplog.text
    needed = placed.peak + placed.writing
    with (
        dask.config.set({"voxarray.memory-budget": needed - (150 << 20)}),
        pytest.raises(vx.MemoryBudgetError, match="the network's own"),
    ):
        vx.infer(greedy, image, tmp_path / "b.nii", patch_size=16)
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii"]


def test_a_network_that_makes_nan_of_zeros_alone_is_run(tmp_path):
    def scaled(batch):
        return torch.cat([batch, 1 - batch], 1) / batch.max()

    labels = vx.infer(scaled, scan(), tmp_path / "a.nii", patch_size=8)
    assert set(labels.count_labels()) == {0, 1}


@pytest.mark.parametrize("width", [23, 24])
def test_every_voxel_of_the_scan_is_predicted_by_patches_that_finish_early(width):
    from voxarray.inference.patch_plan import PatchPlan

    shape = (width, 17, 9)  # of 24 voxels, the last patch shares 7 with its neighbour
    for blend, order in itertools.product(BLENDS, itertools.permutations(range(3))):
        plan = PatchPlan.of(shape, (8, 5, 4), (3, 0, 3), blend, order, (True, False, True))
        taking_turns = {0, 1} == {plan.visit(0)[0], plan.visit(1)[0]} and order[0] == 0
        assert taking_turns == (width == 24 and order[0] == 0 and blend != "crop")
        seen = np.zeros(shape, int)
        held, uses = set(), {}
        for number in range(len(plan)):
            assert plan.number(plan.visit(number)) == number
            for cell in plan.cells(number):
                assert plan.is_new(cell, number) == (cell not in held)
                assert uses.get(cell, number) == number
                held.add(cell)
                uses[cell] = plan.next_use(cell, number)
            for cell in plan.finished(number):
                assert uses[cell] is None
                assert plan.finished_at(cell) == number
                seen[np.ix_(*plan.box(cell))] += 1
                held.discard(cell)
                held.add(cell)
        assert (seen == 1).all()
