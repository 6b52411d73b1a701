"""Models that are careless with what they are given, or return what sums cannot hold."""

from __future__ import annotations

import functools
from contextlib import ExitStack

import numpy as np
import pytest
import torch

import voxarray as vx
from voxarray.inference.network import Network


@pytest.fixture
def scan() -> vx.ScalarImage:
    return vx.testing.sample((20, 18, 16))


def bright(patch):
    return torch.cat([300 - patch, patch - 300], 1)


def test_models_that_change_their_input_do_so_for_themselves(scan, tmp_path):
    def careless(patch):
        found = bright(patch.clone())
        patch.zero_()
        return found

    kept = {"patch_size": 16, "progress": False}
    expected = vx.infer(bright, scan, tmp_path / "a.nii", **kept).numpy()
    for number, (model, flips) in enumerate([([careless, bright], ()), (careless, "all")]):
        found = vx.infer(model, scan, tmp_path / f"{number}.nii", flips=flips, **kept)
        np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize(
    ("factors", "flips"), [((1, 3), ()), ((1,), "all"), ((1, 3), [0])], ids=["two", "flips", "both"]
)
@pytest.mark.parametrize("batch_size", [1, 2])
def test_models_may_write_each_prediction_into_the_same_memory(
    scan, tmp_path, factors, flips, batch_size
):
    """As compiled models do, which own the memory of their outputs."""
    memory = torch.empty(batch_size, 1, 16, 16, 16)

    def model(factor, patches):
        here = memory[: len(patches)]
        return torch.mul(patches + torch.arange(16).reshape(16, 1, 1), factor, out=here)

    def mean(patches):
        ramp = torch.arange(16.0).reshape(16, 1, 1)
        seen = [(), *([0] for _ in flips)] if flips != "all" else [[0] * (n % 2) for n in range(8)]
        ramps = [ramp.flip(axis) if axis else ramp for axis in seen]
        return sum(factor * (patches + one) for factor in factors for one in ramps) / (
            len(factors) * len(ramps)
        )

    kept = {"patch_size": 16, "output": "regression", "progress": False, "batch_size": batch_size}
    models = [functools.partial(model, factor) for factor in factors]
    found = vx.infer(models, scan, tmp_path / "a.nii", flips=flips, **kept)
    expected = vx.infer(mean, scan, tmp_path / "b.nii", **kept)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("code", "offset", "options"),
    [
        ("INFINITE_PREDICTION", -np.inf, {"preprocess": vx.Resample(3)}),
        ("INFINITE_PREDICTION", np.inf, {"output": "probabilities"}),
        ("LARGE_PREDICTION", 1e5, {"accumulate": "float16"}),
    ],
)
def test_numbers_that_sums_cannot_hold_are_refused(scan, tmp_path, code, offset, options):
    with pytest.raises(vx.ModelError) as caught:
        vx.infer(lambda p: bright(p) + offset, scan, tmp_path / "a.nii", patch_size=16, **options)
    assert caught.value.code == code
    assert not (tmp_path / "a.nii").exists()


@pytest.mark.parametrize(
    ("code", "scale", "options"),
    [
        ("LARGE_PREDICTION", 1e3, {"output": "logits", "dtype": "float16"}),
        ("LARGE_PREDICTION", -1e3, {"output": "regression", "dtype": "float16"}),
        ("BAD_PREDICTION", 1, {"output": "probabilities", "dtype": "uint8"}),
        ("BAD_PREDICTION", -1e-3, {"output": "probabilities", "dtype": "uint8"}),
    ],
)
def test_numbers_that_the_type_of_the_result_cannot_hold_are_refused(
    scan, tmp_path, code, scale, options
):
    if options["output"] == "probabilities":
        options = {**options, "activation": "none"}
    with pytest.raises(vx.ModelError) as caught:
        vx.infer(lambda p: p * scale, scan, tmp_path / "a.ome.zarr", patch_size=16, **options)
    assert caught.value.code == code
    assert not (tmp_path / "a.ome.zarr").exists()


@pytest.mark.parametrize("scale", [1e36, -1e36])
@pytest.mark.parametrize("output", ["labels", "regression"])
def test_float64_that_float32_does_not_hold_is_refused(scan, tmp_path, scale, output):
    """All classes became infinite, so that the first was taken for the most probable."""
    model = lambda p: torch.cat([bright(p).double() * scale] * 2, 1)  # noqa: E731
    with pytest.raises(vx.ModelError, match=r"summed in float32.*patch 1 of|patch 1 of") as caught:
        vx.infer(model, scan, tmp_path / "a.nii", patch_size=16, output=output)
    assert caught.value.code == "LARGE_PREDICTION"
    infinite = lambda p: torch.cat([p.double(), torch.full_like(p, -torch.inf)], 1)  # noqa: E731
    made = vx.infer(infinite, scan, tmp_path / "a.nii", patch_size=16)
    assert made.count_labels() == {0: 20 * 18 * 16}


@pytest.mark.parametrize("name", ["a.nii.gz", "a.ome.zarr", "a.ome.zarr/labels.ome.zarr"])
def test_a_scan_is_not_replaced_by_its_labels(scan, tmp_path, name):
    source = tmp_path / name.split("/")[0]
    scan.save(source)
    with pytest.raises(vx.StateError) as caught:
        vx.infer(bright, source, tmp_path / name, patch_size=16, overwrite=True)
    assert caught.value.code == "OWN_SOURCE"
    np.testing.assert_array_equal(vx.ScalarImage(source).numpy(), scan.numpy())


def test_a_network_that_returns_probabilities_is_thresholded_as_it_is(scan, tmp_path):
    found = vx.infer(
        lambda patch: torch.sigmoid(patch - 300.5),
        scan,
        tmp_path / "a.nii",
        patch_size=16,
        activation="none",
    )
    np.testing.assert_array_equal(found.numpy(), scan.numpy() > 300)


@pytest.mark.parametrize("options", [{"threshold": 1.0}, {"preprocess": vx.Crop(5)}])
@pytest.mark.parametrize("values", [(1, 2), (2, 0)])
def test_what_no_class_is_likely_for_is_background(scan, tmp_path, options, values):
    classes = {value: f"class {value}" for value in values}
    flat = lambda patch: torch.cat([0 * patch, 0 * patch], 1)  # noqa: E731
    found = vx.infer(flat, scan, tmp_path / "a.nii", patch_size=8, classes=classes, **options)
    assert found.numpy()[0, 0, 0, 0] == 0


@pytest.mark.parametrize("classes", [{0: "les"}, {1: ("les", (0.1, 0.2, 0.3))}])
def test_classes_that_would_be_taken_for_others_are_refused(scan, tmp_path, classes):
    with pytest.raises(ValueError, match="classes"):
        vx.infer(bright, scan, tmp_path / "a.nii", patch_size=16, classes=classes)


def test_a_module_of_two_networks_stays_in_evaluation_mode_until_both_are_done():
    module = torch.nn.Dropout()
    one, other = Network([module]), Network([module])
    with one.ready():
        with other.ready():
            assert not module.training
        assert not module.training
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(one.ready())
        second.enter_context(other.ready())
        first.close()
        assert not module.training
    assert module.training


def test_labels_that_are_no_whole_numbers_are_refused(scan):
    labels = vx.LabelMap(tensor=(scan.numpy() > 300).astype(np.uint8), affine=scan.affine)
    with pytest.raises(TypeError):
        vx.evaluate(labels, labels, labels=[1.5])


@pytest.mark.parametrize("name", ["a.xyz", "nowhere/a.png"])
def test_a_picture_that_cannot_be_is_named_before_voxels_are_read(scan, tmp_path, name):
    labels = vx.LabelMap(tensor=(scan.numpy() > 300).astype(np.uint8), affine=scan.affine)
    with vx.testing.count_reads() as reads, pytest.raises((ValueError, vx.MissingFileError)):
        vx.evaluate(labels, labels, images=scan, montage=tmp_path / name)
    assert not reads.calls


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (lambda patch: torch.sigmoid(patch - 300), {}),
        (lambda patch: torch.sigmoid(patch - 300), {"output": "probabilities"}),
        (lambda patch: bright(patch).softmax(1), {"output": "probabilities"}),
        (lambda patch: bright(patch).softmax(1), {"threshold": 0.9}),
    ],
    ids=["sigmoid", "sigmoid-probabilities", "softmax-probabilities", "softmax-threshold"],
)
@pytest.mark.parametrize("name", ["a.nii", "a.ome.zarr"])
def test_probabilities_are_not_taken_for_logits(scan, tmp_path, model, options, name):
    with pytest.raises(vx.ModelError) as caught:
        vx.infer(model, scan, tmp_path / name, patch_size=16, **options)
    assert caught.value.code == "PROBABILITIES"
    assert not list(tmp_path.iterdir())
    for activation in ("none", "sigmoid"):
        vx.infer(model, scan, tmp_path / activation / name, patch_size=16, activation=activation)


def test_the_largest_of_probabilities_is_that_of_their_logits(scan, tmp_path):
    made = [
        vx.infer(model, scan, tmp_path / f"{number}.nii", patch_size=16).numpy()
        for number, model in enumerate((bright, lambda patch: bright(patch).softmax(1)))
    ]
    np.testing.assert_array_equal(*made)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("fewer", [1, 2])
def test_members_of_an_ensemble_predict_the_same_classes(scan, tmp_path, order, fewer):
    models = [lambda patch: patch.repeat(1, fewer, 1, 1, 1), lambda p: p.repeat(1, 3, 1, 1, 1)]
    with pytest.raises(vx.ModelError) as caught:
        vx.infer(models[::order], scan, tmp_path / "a.nii", patch_size=16, classes=3)
    assert caught.value.code == "ENSEMBLE_DIFFERS"
    assert not list(tmp_path.iterdir())


def test_a_channel_or_a_name_that_comes_twice_is_refused(scan, tmp_path):
    subject = vx.Subject(t1=scan, t2=scan)
    with pytest.raises(vx.StateError) as caught:
        vx.infer(bright, subject, tmp_path / "a.nii", patch_size=16, channels=["t1", "t1"])
    assert caught.value.code == "CHANNELS_REPEATED"
    for classes in (["liver", "liver"], {1: "liver", 2: "liver"}):
        with pytest.raises(vx.UnsupportedError) as refused:
            vx.infer(bright, scan, tmp_path / "a.nii", patch_size=16, classes=classes)
        assert refused.value.code == "CLASSES_REPEATED"


@pytest.mark.parametrize(
    "changed",
    [
        lambda found: found.numpy().astype(">f4"),
        lambda found: np.asfortranarray(found.numpy())[:, ::-1][:, ::-1],
        lambda found: found.to_sparse(),
        lambda found: torch.nn.Parameter(found.clone()),
        lambda found: found.double().contiguous(memory_format=torch.channels_last_3d),
    ],
    ids=["big-endian", "strides", "sparse", "gradient", "channels-last"],
)
def test_predictions_come_in_many_forms(scan, tmp_path, changed):
    found = vx.infer(lambda p: changed(bright(p)), scan, tmp_path / "a.nii", patch_size=16)
    np.testing.assert_array_equal(found.numpy(), scan.numpy() > 300)


def test_labels_are_not_taken_for_logits(scan, tmp_path):
    with pytest.raises(vx.ModelError, match="arg-max") as caught:
        vx.infer(lambda p: bright(p).argmax(1, True) * 2, scan, tmp_path / "a.nii", patch_size=16)
    assert caught.value.code == "BAD_PREDICTION"


@pytest.mark.parametrize("output", ["regression", "logits"])
def test_logits_and_regressions_may_be_any_numbers(scan, tmp_path, output):
    unit = vx.ScalarImage(tensor=scan.numpy().astype(np.float32) / 1000)
    found = vx.infer(lambda p: p, unit, tmp_path / "a.nii", patch_size=16, output=output)
    np.testing.assert_allclose(found.numpy(), unit.numpy(), atol=1e-6)


def test_what_has_no_order_is_refused(scan, tmp_path):
    with pytest.raises(ValueError, match="classes"):
        vx.infer(bright, scan, tmp_path / "a.nii", patch_size=16, classes={"a", "b"})
    subject = vx.Subject(t1=scan, t2=scan)
    with pytest.raises(vx.StateError, match="no order"):
        vx.infer(bright, subject, tmp_path / "a.nii", patch_size=16, channels={"t1", "t2"})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_module_of_another_precision_is_given_patches_of_it(tmp_path, dtype):
    torch.manual_seed(0)
    net = torch.nn.Conv3d(1, 2, 3, padding=1)
    voxels = np.random.default_rng(0).random((1, 10, 9, 8), np.float32)
    expected = net(torch.from_numpy(voxels)[None])[0].detach().numpy()
    scan, out = vx.ScalarImage(tensor=voxels), tmp_path / "a.nii"
    found = vx.infer(net.to(dtype), scan, out, patch_size=10, output="logits")
    np.testing.assert_allclose(found.numpy(), expected, atol=0.02)
    if dtype == torch.float64:
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_a_module_that_halves_by_itself_sees_float32(tmp_path):
    class Normalises(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Conv3d(1, 1, 1).half()
            self.seen = set()

        def forward(self, patches):
            self.seen.add(patches.dtype)
            return self.net((patches / 1e6).half())

    model = Normalises()
    scan = vx.ScalarImage(tensor=np.full((1, 8, 8, 8), 1e6, np.float32))  # inf in float16
    vx.infer(model, scan, tmp_path / "a.nii", patch_size=8, output="regression")
    assert model.seen == {torch.float32}


def test_predictions_in_half_precision_are_averaged_in_float32(tmp_path):
    scan = vx.ScalarImage(tensor=np.full((1, 8, 8, 8), 60000, np.float32))
    models = [lambda patches: patches.half()] * 3  # whose sum float16 cannot hold
    found = vx.infer(models, scan, tmp_path / "a.nii", patch_size=8, output="regression")
    np.testing.assert_array_equal(found.numpy(), 60000)


class Dropping(torch.nn.Module):
    """Predicts by chance while it is trained."""

    def __init__(self):
        super().__init__()
        self.drop, self.norm = torch.nn.Dropout(0.5), torch.nn.BatchNorm3d(1)

    def forward(self, patches, factor=1):
        return self.norm(self.drop(patches)) * factor

    def predict(self, patches):
        return self(patches)


@pytest.mark.parametrize(
    "way",
    [
        lambda net: net.forward,
        lambda net: net.predict,
        lambda net: functools.partial(net.forward, factor=1),
        lambda net: functools.partial(net),
    ],
    ids=["forward", "another method", "partial method", "partial"],
)
def test_a_method_of_a_network_predicts_in_evaluation_mode(way, tmp_path):
    """It was left in training mode, whose dropout made another prediction each time."""
    net, scan = Dropping().train(), vx.testing.sample((8, 8, 8))
    options = {"patch_size": 8, "output": "regression", "progress": False}
    expected = vx.infer(net, scan, tmp_path / "a.ome.zarr", **options).numpy()
    found = vx.infer(way(net), scan, tmp_path / "b.ome.zarr", **options).numpy()
    np.testing.assert_array_equal(found, expected)
    assert net.training
    assert net.norm.running_mean.item() == 0
