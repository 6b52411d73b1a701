"""Networks from files and bundles, and what is refused of them."""

from __future__ import annotations

import json
import pickle
import warnings

import dask
import numpy as np
import pytest
import torch

import voxarray as vx
from voxarray.inference import model_files


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv3d(1, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


@pytest.fixture
def net():
    return Net().eval()


@pytest.fixture
def scan():
    voxels = np.random.default_rng(0).random((1, 18, 17, 16), np.float32)
    return vx.ScalarImage(tensor=voxels)


def logits(model, scan, path, **more):
    more = {"patch_size": 8, **more}
    return vx.infer(model, scan, path, output="logits", overwrite=True, **more).numpy()


def onnx_file(net, path, shape=("n", 1, "w", "h", "d"), names=None):
    """The convolution as ONNX, written node by node."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    weights = [
        numpy_helper.from_array(net.conv.weight.detach().numpy(), "w"),
        numpy_helper.from_array(net.conv.bias.detach().numpy(), "b"),
    ]
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[1] * 6)
    out = [shape[0], 3, *shape[2:]]
    graph = helper.make_graph(
        [node],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if names:
        helper.set_model_props(model, {"class_names": json.dumps(names)})
    onnx.save(model, str(path))
    return path


def test_torchscript_predicts_alike_and_says_that_it_is_code(net, scan, tmp_path):
    torch.jit.script(net).save(str(tmp_path / "net.pt"))
    expected = logits(net, scan, tmp_path / "a.nii")
    with pytest.warns(vx.VoxarrayWarning, match="is a program"):
        found = logits(tmp_path / "net.pt", scan, tmp_path / "a.nii")
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_an_exported_program_predicts_alike(net, scan, tmp_path):
    program = torch.export.export(net, (torch.zeros(1, 1, 8, 8, 8),))
    torch.export.save(program, tmp_path / "net.pt2")
    expected = logits(net, scan, tmp_path / "a.nii")
    with pytest.warns(vx.VoxarrayWarning, match="is a program"):
        found = logits(str(tmp_path / "net.pt2"), scan, tmp_path / "a.nii")
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_onnx_predicts_alike_without_a_warning_and_brings_names(net, scan, tmp_path):
    path = onnx_file(net, tmp_path / "net.onnx", names={0: "background", 1: "liver", 2: "spleen"})
    expected = logits(net, scan, tmp_path / "a.nii", batch_size=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = logits(path, scan, tmp_path / "b.nii", batch_size=2)
        labels = vx.infer(path, scan, tmp_path / "c.ome.zarr", patch_size=8)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert [label.name for label in labels.source.label_table] == ["background", "liver", "spleen"]


def test_a_fixed_onnx_shape_that_does_not_fit_is_named(net, scan, tmp_path):
    path = onnx_file(net, tmp_path / "net.onnx", shape=(1, 1, 8, 8, 8))
    logits(path, scan, tmp_path / "a.nii")
    for more, what in (({"patch_size": 9}, "patch_size"), ({"batch_size": 2}, "batch_size")):
        with pytest.raises(vx.ModelError, match=what) as caught:
            logits(path, scan, tmp_path / "b.nii", **more)
        assert caught.value.code == "FIXED_SHAPE"
        assert not (tmp_path / "b.nii").exists()


def half_onnx(path, threshold):
    """Logits of two classes that are equal where a voxel is the threshold, in half precision."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    weights = np.array([-1, 1], np.float16).reshape(2, 1, 1, 1, 1)
    parts = [
        numpy_helper.from_array(weights, "w"),
        numpy_helper.from_array(np.array([threshold, -threshold], np.float16), "b"),
    ]
    shape = ["n", 1, "w", "h", "d"]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, [shape[0], 2, *shape[2:]])],
        parts,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def test_a_network_in_half_precision_is_given_what_numpy_rounds(tmp_path):
    voxels = np.random.default_rng(0).random((1, 20, 18, 16), np.float32)
    path = half_onnx(tmp_path / "half.onnx", 0.5)
    found = vx.infer(path, vx.ScalarImage(tensor=voxels), tmp_path / "a.nii", patch_size=8)
    expected = voxels.astype(np.float16) > 0.5
    np.testing.assert_array_equal(found.numpy(), expected)
    # One voxel, 0.50002, is not above 0.5 in half precision: the rounding is the network's.
    assert np.count_nonzero(expected != (voxels > 0.5)) == 1


def exported(net, path, **more):
    torch.export.save(torch.export.export(net, (torch.zeros(2, 1, 8, 8, 8),), **more), path)
    return path


@pytest.mark.filterwarnings("ignore::voxarray.VoxarrayWarning")
def test_a_fixed_program_that_does_not_fit_is_named_as_onnx_is(net, scan, tmp_path):
    path = exported(net, tmp_path / "net.pt2")
    expected = logits(net, scan, tmp_path / "a.nii")
    for size in (2, 1):
        found = logits(path, scan, tmp_path / "a.nii", batch_size=size)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    for more, what in (({"patch_size": 9}, "patch_size"), ({"batch_size": 3}, "batch_size")):
        with pytest.raises(vx.ModelError, match=what) as caught:
            logits(path, scan, tmp_path / "b.nii", **more)
        assert caught.value.code == "FIXED_SHAPE"
        assert not (tmp_path / "b.nii").exists()


@pytest.mark.filterwarnings("ignore::voxarray.VoxarrayWarning")
def test_a_program_whose_sizes_have_a_range_says_so(net, scan, tmp_path):
    sizes = {0: torch.export.Dim.AUTO, 2: torch.export.Dim("w", min=4, max=16)}
    path = exported(net, tmp_path / "net.pt2", dynamic_shapes={"x": sizes})
    expected = logits(net, scan, tmp_path / "a.nii", patch_size=(10, 8, 8))
    found = logits(path, scan, tmp_path / "b.nii", patch_size=(10, 8, 8))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(vx.ModelError, match="<= 16") as caught:
        logits(path, scan, tmp_path / "b.nii", patch_size=(18, 8, 8))
    assert caught.value.code == "FIXED_SHAPE"


def test_a_fixed_onnx_batch_is_filled_up_at_the_end(net, scan, tmp_path):
    path = onnx_file(net, tmp_path / "net.onnx", shape=(2, 1, 8, 8, 8))
    expected = logits(net, scan, tmp_path / "a.nii")
    found = logits(path, scan, tmp_path / "b.nii", batch_size=2)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore::voxarray.VoxarrayWarning")
@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_a_fixed_batch_is_given_whole_and_counted(net, scan, tmp_path, monkeypatch, kind):
    if kind == "onnx":
        path = onnx_file(net, tmp_path / "net.onnx", shape=(2, 1, 8, 8, 8))
    else:
        path = exported(net, tmp_path / "net.pt2")
    expected, sizes = logits(net, scan, tmp_path / "a.nii"), []
    fit = model_files.fitted

    def watched(path, expected, batch):
        sizes.append(len(batch))
        return fit(path, expected, batch)

    monkeypatch.setattr(model_files, "fitted", watched)
    found = logits(path, scan, tmp_path / "b.nii", batch_size=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert set(sizes) == {2}  # the patches of this scan are even in number
    thin = scan[:, :, :8]  # 9 patches
    expected, sizes[:] = logits(net, thin, tmp_path / "a.nii", overlap=0), []
    found = logits(path, thin, tmp_path / "b.nii", overlap=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert sizes[-1] == 1
    assert set(sizes[:-1]) == {2}
    # Two patches and what is predicted of them do not fit where one would.
    voxels = 8**3 * 4
    with (
        dask.config.set({"voxarray.memory-budget": 3 * voxels}),
        pytest.raises(vx.MemoryBudgetError, match=r"a batch of shape \(2, 1, "),
    ):
        logits(path, scan, tmp_path / "c.nii", batch_size=1)
    # A member of another fixed batch is filled up, and counted as what it computes.
    more = onnx_file(net, tmp_path / "more.onnx", shape=(3, 1, 8, 8, 8))
    found = logits([path, more], thin, tmp_path / "d.nii", overlap=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with (
        dask.config.set({"voxarray.memory-budget": 5 * voxels}),
        pytest.raises(vx.MemoryBudgetError, match=r"a batch of shape \(3, 1, "),
    ):
        logits([path, more], scan, tmp_path / "e.nii")


@pytest.mark.parametrize("count", ["n", 2])
def test_an_onnx_of_more_results_than_patches_is_refused(scan, tmp_path, count):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [count, 1, 8, 8, 8])
    found = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    twice = helper.make_node("Concat", ["x", "x"], ["y"], axis=0)
    graph = helper.make_graph([twice], "net", [given], [found])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "net.onnx")
    with pytest.raises(vx.ModelError) as caught:
        logits(str(tmp_path / "net.onnx"), scan, tmp_path / "a.nii", batch_size=1)
    assert caught.value.code == "BAD_PREDICTION"


@pytest.mark.filterwarnings("ignore::voxarray.VoxarrayWarning")
def test_a_program_with_two_inputs_is_refused(scan, tmp_path):
    class Two(torch.nn.Module):
        def forward(self, x, y):
            return x + y

    patch = torch.zeros(1, 1, 8, 8, 8)
    torch.export.save(torch.export.export(Two(), (patch, patch)), tmp_path / "net.pt2")
    with pytest.raises(vx.ModelError, match=r"'x'.*'y'.*expected one") as caught:
        vx.infer(tmp_path / "net.pt2", scan, tmp_path / "a.nii", patch_size=8)
    assert caught.value.code == "BAD_MODEL"


def test_models_of_a_list_may_be_of_several_kinds(net, scan, tmp_path):
    path = onnx_file(net, tmp_path / "net.onnx")
    found = logits([path, net, lambda x: net(x) * 4], scan, tmp_path / "a.nii")
    np.testing.assert_allclose(found, 2 * logits(net, scan, tmp_path / "b.nii"), atol=1e-5)


class Evil:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("weights.pt", "state", "NO_NETWORK"),
        ("weights.safetensors", b"", "NO_NETWORK"),
        ("net.pt", b"rubbish", "BAD_MODEL"),
        ("net.pt", pickle.dumps(Evil()), "BAD_MODEL"),
        ("net.onnx", b"rubbish", "BAD_MODEL"),
        ("net.pt2", b"rubbish", "BAD_MODEL"),
        ("net.h5", b"rubbish", "BAD_MODEL"),
    ],
    ids=["state", "safetensors", "rubbish", "pickle", "onnx", "pt2", "other"],
)
def test_files_that_are_no_networks(net, scan, tmp_path, capsys, name, content, code):
    path = tmp_path / name
    if content == "state":
        torch.save(net.state_dict(), path)
    else:
        path.write_bytes(content)
    with pytest.raises(vx.ModelError) as caught:
        vx.infer(path, scan, tmp_path / "a.nii", patch_size=8)
    assert (caught.value.code, caught.value.path) == (code, str(path))
    assert "run" not in capsys.readouterr().out


def test_a_missing_file_is_named(scan, tmp_path):
    with pytest.raises(vx.MissingFileError):
        vx.infer(tmp_path / "none.onnx", scan, tmp_path / "a.nii", patch_size=8)


# --- Bundles --------------------------------------------------------------------------------------

NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": "@channels",
    "out_channels": 2,
    "channels": [4, 8],
    "strides": [2],
}
CONFIG = {
    "channels": 1,
    "patch": "$(16, 16, 16)",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network_def": NETWORK,
    "network": "$@network_def.to(@device)",
    "inferer": {
        "_target_": "SlidingWindowInferer",
        "roi_size": "@patch",
        "sw_batch_size": 2,
        "overlap": 0.5,
        "mode": "gaussian",
    },
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {
                "_target_": "Spacingd", "keys": "image",
                "pixdim": [1.5, 1.2, 2.0], "mode": "bilinear",
            },
            {
                "_target_": "ScaleIntensityRanged", "keys": "image",
                "a_min": -50, "a_max": 80, "b_min": 0.0, "b_max": 1.0, "clip": True,
            },
            {"_target_": "EnsureTyped", "keys": "image"},
        ],
    },
}  # fmt: skip
METADATA = {
    "network_data_format": {
        "inputs": {"image": {"channel_def": {"0": "image"}}},
        "outputs": {"pred": {"channel_def": {"0": "background", "1": "spleen"}}},
    }
}


@pytest.fixture
def bundle(tmp_path):
    nets = pytest.importorskip("monai.networks.nets")
    folder = tmp_path / "bundle"
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    torch.manual_seed(1)
    arguments = {**NETWORK, "in_channels": 1}
    del arguments["_target_"]
    torch.save(nets.UNet(**arguments).state_dict(), folder / "models" / "model.pt")
    write(folder, CONFIG)
    (folder / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    return folder


def write(folder, config, name="inference.json"):
    (folder / "configs" / name).write_text(json.dumps(config))


def changed(**more):
    return {**CONFIG, **more}


def step(**more):
    return changed(preprocessing={"_target_": "Compose", "transforms": [more]})


@pytest.fixture
def ct():
    voxels = np.random.default_rng(0).normal(0, 60, (1, 30, 28, 14)).astype(np.float32)
    affine = np.array([[-0.9, 0, 0, 9], [0, -0.9, 0, 7], [0, 0, 2.5, 5], [0, 0, 0, 1]])
    return vx.ScalarImage(tensor=voxels, affine=affine)


def test_what_a_bundle_asks_for_and_is_not_done_is_named(bundle, ct, tmp_path):
    steps = [{"_target_": "AsDiscreted"}, {"_target_": "KeepLargestConnectedComponentd"}]
    write(bundle, changed(inferer={**CONFIG["inferer"], "padding_mode": "reflect", "cval": 0},
                          postprocessing={"_target_": "Compose", "transforms": steps}))  # fmt: skip
    with pytest.warns(vx.VoxarrayWarning, match="BUNDLE_LEFT_OUT") as caught:
        vx.infer(bundle, ct, tmp_path / "a.nii")
    (text,) = [str(one.message) for one in caught if "BUNDLE" in str(one.message)]
    assert "padding_mode='reflect'" in text
    assert "KeepLargest" in text
    assert "cval" not in text
    assert "AsDiscreted" not in text


def test_where_a_bundle_runs_does_not_matter(bundle, ct, tmp_path):
    where = {"device": "$torch.device('cuda')", "sw_device": "@device", "progress": True}
    write(bundle, changed(inferer={**CONFIG["inferer"], **where}))
    assert vx.infer(bundle, ct, tmp_path / "a.ome.zarr").grid == ct.grid


def test_a_bundle_predicts_what_monai_does(bundle, ct, tmp_path):
    from monai.bundle import ConfigParser
    from monai.data import MetaTensor
    from monai.inferers import sliding_window_inference
    from monai.transforms import Compose, Orientationd, ScaleIntensityRanged, Spacingd

    steps = ConfigParser({"t": CONFIG["preprocessing"]["transforms"][2:5]}).get_parsed_content("t")
    assert [type(s) for s in steps] == [Orientationd, Spacingd, ScaleIntensityRanged]
    given = {"image": MetaTensor(ct.data, affine=torch.from_numpy(np.array(ct.affine)))}
    shown = Compose(steps)(given)["image"]
    from voxarray.inference.loading import loaded

    model = loaded(bundle)
    ours = model.preprocess()(vx.Subject(image=ct)).image
    assert ours.spatial_shape == tuple(shown.shape[1:])
    np.testing.assert_allclose(ours.affine, shown.affine.numpy(), atol=1e-9)
    np.testing.assert_allclose(ours.numpy(), shown.numpy(), atol=2e-4)
    with torch.no_grad():
        expected = sliding_window_inference(
            torch.from_numpy(ours.numpy())[None], (16, 16, 16), 2, model.networks[0].eval(),
            overlap=0.5, mode="gaussian",
        )[0].numpy()  # fmt: skip
    found = vx.infer(
        bundle, ours, tmp_path / "a.nii", output="logits", preprocess=vx.Compose([])
    ).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    labels = vx.infer(bundle, ct, tmp_path / "labels.ome.zarr")
    assert labels.grid == ct.grid
    assert [label.name for label in labels.source.label_table] == ["background", "spleen"]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("ScaleIntensityd", {}),
        ("ScaleIntensityd", {"minv": -1.0, "maxv": 3.0}),
        ("NormalizeIntensityd", {}),
        ("NormalizeIntensityd", {"nonzero": True, "channel_wise": True}),
        ("NormalizeIntensityd", {"subtrahend": 3.0, "divisor": 7.0, "nonzero": True}),
        ("NormalizeIntensityd", {"subtrahend": 3.0}),
        ("CropForegroundd", {"source_key": "image"}),
        ("CropForegroundd", {"source_key": "image", "margin": [2, 0, 5], "k_divisible": [4, 1, 8]}),
        ("CropForegroundd", {"source_key": "image", "margin": 9, "allow_smaller": True}),
    ],
    ids=str,
)
def test_steps_of_a_bundle_are_those_of_monai(ct, name, more):
    transforms = pytest.importorskip("monai.transforms")
    from monai.data import MetaTensor

    from voxarray.inference.bundle_transforms import preprocessing

    voxels = ct.numpy().copy()
    voxels[:, :4], voxels[:, :, 21:], voxels[..., :2] = 0, 0, -3
    voxels[:, 6, 9, 5] = 0
    image = vx.ScalarImage(tensor=voxels, affine=ct.affine)
    given = {"image": MetaTensor(image.data.clone(), affine=torch.from_numpy(np.array(ct.affine)))}
    expected = getattr(transforms, name)(keys="image", **more)(given)["image"]
    ours = preprocessing([{"_target_": name, "keys": "image", **more}], "inference.json")
    found = ours(vx.Subject(image=image)).image
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.affine, expected.affine.numpy(), atol=1e-6)


def test_a_cropped_scan_is_background_outside(bundle, ct, tmp_path):
    crop = {"_target_": "CropForegroundd", "keys": "image", "source_key": "image"}
    write(bundle, step(**crop))
    voxels = ct.numpy() * 0
    voxels[:, 5:25, 3:24, 4:12] = 50
    image = vx.ScalarImage(tensor=voxels, affine=ct.affine)
    labels = vx.infer(bundle, image, tmp_path / "a.nii", blend="average").numpy()[0]
    inner = vx.infer(
        bundle, image[5:25, 3:24, 4:12], tmp_path / "b.nii", preprocess=vx.Compose([]),
        blend="average",
    ).numpy()[0]  # fmt: skip
    np.testing.assert_array_equal(labels[5:25, 3:24, 4:12], inner)
    labels[5:25, 3:24, 4:12] = 0
    assert not labels.any()
    image = vx.ScalarImage(tensor=voxels * 0, affine=ct.affine)
    with pytest.raises(vx.ModelError) as caught:
        vx.infer(bundle, image, tmp_path / "c.nii")
    assert caught.value.code == "BUNDLE_TRANSFORM"


def test_channels_that_monai_would_normalise_otherwise_are_refused(ct):
    from voxarray.inference.bundle_transforms import preprocessing

    step = {"_target_": "NormalizeIntensityd", "keys": "image"}
    with pytest.raises(vx.ModelError) as caught:
        preprocessing([step], "inference.json")(vx.Subject(a=ct, b=ct))
    assert caught.value.code == "BUNDLE_TRANSFORM"
    together = preprocessing([{**step, "channel_wise": True}], "inference.json")
    assert together(vx.Subject(a=ct, b=ct)).b.numpy().std() == pytest.approx(1, abs=1e-5)


def test_channels_that_monai_would_scale_together_are_refused(ct):
    from voxarray.inference.bundle_transforms import preprocessing

    scaled = preprocessing([{"_target_": "ScaleIntensityd", "keys": "image"}], "inference.json")
    with pytest.raises(vx.ModelError) as caught:
        scaled(vx.Subject(a=ct, b=ct))
    assert caught.value.code == "BUNDLE_TRANSFORM"
    assert scaled(vx.Subject(a=ct)).a.numpy().max() == 1


def test_safetensors_and_yaml_bundles(bundle, ct, tmp_path):
    first = vx.infer(bundle, ct, tmp_path / "a.nii").numpy()
    save = pytest.importorskip("safetensors.torch").save_file
    save(torch.load(bundle / "models" / "model.pt"), bundle / "models" / "model.safetensors")
    (bundle / "models" / "model.pt").unlink()
    (bundle / "configs" / "inference.json").unlink()
    write(bundle, CONFIG, "inference.yaml")  # JSON is YAML
    np.testing.assert_array_equal(vx.infer(bundle, ct, tmp_path / "b.nii").numpy(), first)


def test_the_caller_wins_over_the_bundle(bundle, ct, tmp_path):
    labels = vx.infer(bundle, ct, tmp_path / "a.ome.zarr", patch_size=32, blend="hann")
    (entry,) = [s for s in labels.history if s["operation"] == "infer"]
    assert entry["arguments"]["patch_size"] == [32, 32, 32]
    assert entry["arguments"]["blend"] == "hann"
    assert entry["arguments"]["batch_size"] == 2


REFUSED = [
    ("BUNDLE_TARGET", changed(network_def={"_target_": "os.system", "command": "echo run"})),
    ("BUNDLE_TARGET", changed(network_def={"_target_": "evil.networks.UNet"})),
    ("BUNDLE_TARGET", changed(network_def={**NETWORK, "nonsense": 3})),
    ("BUNDLE_TARGET", changed(inferer={"_target_": "SaliencyInferer"})),
    ("BUNDLE_TARGET", changed(inferer={**CONFIG["inferer"], "mode": "linear"})),
    ("BUNDLE_EXPRESSION", changed(network_def={**NETWORK, "out_channels": "$print('run')"})),
    ("BUNDLE_EXPRESSION", changed(patch="$__import__('os').getcwd()")),
    ("BUNDLE_EXPRESSION", changed(patch="@nothing")),
    ("BUNDLE_EXPRESSION", changed(patch="@patch")),
    (
        "BUNDLE_TRANSFORM",
        step(_target_="CropForegroundd", keys=["image", "label"], source_key="label"),
    ),
    ("BUNDLE_TRANSFORM", step(_target_="Spacingd", keys="image", pixdim=[1, 1, 1], mode="bicubic")),
    ("BUNDLE_TRANSFORM", step(_target_="NormalizeIntensityd", keys="image", divisor=[1, 2])),
    ("BAD_WEIGHTS", changed(network_def={**NETWORK, "out_channels": 5})),
]


@pytest.mark.parametrize(
    ("code", "config"), REFUSED, ids=[f"{n}-{r[0]}" for n, r in enumerate(REFUSED)]
)
def test_what_would_run_or_is_not_ours_is_refused(bundle, ct, tmp_path, capsys, code, config):
    write(bundle, config)
    with pytest.raises(vx.ModelError) as caught:
        vx.infer(bundle, ct, tmp_path / "a.nii")
    assert caught.value.code == code
    assert str(bundle) in str(caught.value)
    assert "run" not in capsys.readouterr().out
    assert not (tmp_path / "a.nii").exists()


def test_pickled_weights_are_not_run(bundle, ct, tmp_path, capsys):
    torch.save({"model": Evil()}, bundle / "models" / "model.pt")
    with pytest.raises(vx.ModelError) as caught:
        vx.infer(bundle, ct, tmp_path / "a.nii")
    assert caught.value.code == "BAD_WEIGHTS"
    assert "run" not in capsys.readouterr().out


def test_bundles_without_a_part_are_named(bundle, ct, tmp_path):
    (bundle / "models" / "model.pt").unlink()
    with pytest.raises(vx.MissingFileError, match="no weights"):
        vx.infer(bundle, ct, tmp_path / "a.nii")
    (bundle / "configs" / "inference.json").write_text("[1, 2")
    with pytest.raises(vx.ModelError, match="cannot be read"):
        vx.infer(bundle, ct, tmp_path / "a.nii")
    (bundle / "configs" / "inference.json").unlink()
    with pytest.raises(vx.MissingFileError, match="not a MONAI bundle"):
        vx.infer(bundle, ct, tmp_path / "a.nii")


def test_channels_of_a_bundle_are_found_by_name(bundle, ct, tmp_path):
    names = {"0": "t1", "1": "t2"}
    metadata = {"network_data_format": {"inputs": {"image": {"channel_def": names}}}}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(vx.StateError) as caught:
        vx.infer(bundle, vx.Subject(t1=ct, flair=ct), tmp_path / "a.nii")
    assert caught.value.code == "MISSING_CHANNELS"


def test_errors_in_torchscript_are_reported_without_their_stack(scan, tmp_path):
    torch.jit.script(torch.nn.Conv3d(7, 2, 1)).save(str(tmp_path / "seven.pt"))
    with pytest.warns(vx.VoxarrayWarning), pytest.raises(vx.ModelError, match="channels") as caught:
        vx.infer(tmp_path / "seven.pt", scan, tmp_path / "a.nii", patch_size=8)
    assert caught.value.code == "MODEL_FAILED"
