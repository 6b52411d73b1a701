"""Pipelines as YAML: what transforms and histories come to, and all that is refused."""

from __future__ import annotations

import numpy as np
import pytest
from spatial_samples import both, oblique
from test_replay import FAMILIES, PIPELINE, image_with

import voxarray as vx
from voxarray.core.history import entry
from voxarray.core.safe_yaml import YamlError, dumps, loads
from voxarray.transforms.pipeline_file import parsed, to_text

EVERY = {
    name
    for name in vx.transforms.__all__
    if isinstance(getattr(vx.transforms, name), type)
    and issubclass(getattr(vx.transforms, name), vx.transforms.Transform)
}
NO_FILE_NAMES = {
    *("Transform", "SpatialTransform", "IntensityTransform", "LabelTransform"),
    *("NormalizationTransform", "Lambda"),
}


def steps(text):
    return parsed(text, "p.yaml")


def refused(text):
    with pytest.raises(vx.FormatError) as caught:
        steps(text)
    assert "p.yaml" in str(caught.value)
    return caught.value


def test_every_transform_is_in_a_family_of_these_tests():
    """So that a transform that is added is added here, too."""
    used = {type(one).__name__ for family in FAMILIES.values() for one in family}
    assert used | NO_FILE_NAMES | {"Compose"} == EVERY


@pytest.mark.parametrize("family", FAMILIES)
def test_transforms_come_back_from_their_file(family, tmp_path):
    given = vx.Compose(FAMILIES[family])
    given.to_yaml(tmp_path / "p.yaml")
    back = vx.Compose.from_yaml(tmp_path / "p.yaml")
    assert back.to_yaml() == given.to_yaml()
    subject = both(5)[1]
    expected, found = given(subject), back(subject)
    for name in subject:
        assert np.array_equal(found[name].numpy(), expected[name].numpy())
        assert np.array_equal(found[name].affine, expected[name].affine)
        assert found[name].history == expected[name].history


@pytest.mark.parametrize("family", [one for one in FAMILIES if one != "masks of the subject"])
def test_a_history_is_a_pipeline(family, tmp_path):
    """What an archive says was done makes the same voxels, places and history again."""
    subject = both(5)[1]
    for name in ("t1", "seg"):
        subject[name].save(tmp_path / f"{name}.nii")
    files = vx.Subject(
        t1=vx.ScalarImage(tmp_path / "t1.nii"), seg=vx.LabelMap(tmp_path / "seg.nii")
    )
    vx.Compose(FAMILIES[family])(files).save(tmp_path / "done")
    for name, image in files.items():
        archived = type(image)(tmp_path / "done" / f"{name}.ome.zarr")
        again = vx.Compose(steps(to_text(archived.history)))(image)
        assert np.array_equal(again.numpy(), archived.numpy())
        assert np.array_equal(again.affine, archived.affine)
        assert again.history == archived.history[:-1]


def test_what_histories_name_besides_transforms(tmp_path):
    both(3)[1]["t1"].save(tmp_path / "t1.nii")
    scan = vx.ScalarImage(tmp_path / "t1.nii")
    result = PIPELINE(scan)[:, ::-1, 1:]
    result.affine = oblique(1)
    result.save(tmp_path / "a.ome.zarr")
    archived = vx.ScalarImage(tmp_path / "a.ome.zarr")
    again = vx.Compose(steps(to_text(archived.history)))(scan)
    assert np.array_equal(again.numpy(), archived.numpy())
    assert np.array_equal(again.affine, archived.affine)
    assert again.history == archived.history[:-1]


def test_names_of_images_stand_in_files():
    given = vx.Compose(
        [vx.ZNormalization(include=["t1"]), vx.Compose([vx.Pad(1)], exclude=["seg"])],
        keep={"t1": "raw"},
    )
    back = vx.Compose(steps(given.to_yaml()))
    subject = both(5)[1]
    expected, found = given(subject), back(subject)
    assert list(found) == list(expected) == ["t1", "seg", "raw"]
    assert all(found[name].shape == expected[name].shape for name in found)
    assert found["seg"].shape == subject["seg"].shape


@pytest.mark.parametrize("step", [abs, vx.Lambda(abs), vx.ZNormalization(lambda x: x > 0)])
def test_functions_stand_in_no_file(step):
    with pytest.raises(vx.FormatError) as caught:
        vx.Compose([step]).to_yaml()
    assert caught.value.code == "NOT_IN_A_FILE"


def test_the_error_of_a_function_names_the_transform_for_types():
    """It is what functions in front of `Resample` are mostly for, and files hold it."""
    with pytest.raises(vx.FormatError, match=r'NOT_IN_A_FILE.*use vx\.To\("float32"\)'):
        vx.Compose([vx.Lambda(lambda voxels: voxels.astype("float32"))]).to_yaml()
    with pytest.raises(vx.FormatError) as caught:
        vx.Compose([vx.ZNormalization(lambda x: x > 0)]).to_yaml()
    assert "vx.To" not in caught.value.message
    vx.Compose([vx.To("float32"), vx.Resample(2)]).to_yaml()


class Flip(vx.Flip):
    """A class of a user's with the name of one of ours."""


def test_a_class_of_the_same_name_is_not_taken_for_ours():
    with pytest.raises(vx.FormatError) as caught:
        vx.Compose([Flip(0)]).to_yaml()
    assert caught.value.code == "NOT_IN_A_FILE"


@pytest.mark.parametrize(
    "name", [*sorted(NO_FILE_NAMES), "replay", "os.system", "Magic", "set_data"]
)
def test_names_that_are_no_transforms(name):
    error = refused(f"- operation: ToCanonical\n- operation: {name}\n")
    assert error.code == "UNKNOWN_TRANSFORM"
    assert "operation 2 of p.yaml" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a text",
        "operation: ToCanonical",
        "- ToCanonical",
        "- operation: 3",
        "- operation: ToCanonical\n  args: {}",
        "- operation: Pad\n  arguments: [1]",
        "- operation: Pad\n  arguments: {1: 1}",
        "- operation: Pad\n  operation: Crop",
        "- operation: Compose\n  arguments: {transforms: [1]}",
        "- &a\n  operation: ToCanonical\n- *a",
        "- !!python/object/apply:os.system ['true']",
        "- operation: !!python/name:os.system x",
        "- operation: ToCanonical\n---\n- operation: ToCanonical",
        "- operation: [",
        "[" * 20000,
        f"- {'1' * 5000}",
        "- operation: \x00",
        "- operation: Compose\n  arguments: {transforms: " * 9 + "1",
    ],
)
def test_what_is_no_pipeline(text):
    assert refused(text).code == "BAD_PIPELINE"


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("Pad", "{paddings: 1}", "'paddings', only copy, exclude"),
        ("Pad", "{padding: [1, x]}", "padding is a whole number or a list"),
        ("Pad", "{padding: 1, padding_mode: sideways}", "sideways"),
        ("Pad", "{}", "padding"),
        ("Crop", "{cropping: -1}", "-1"),
        ("Clamp", "{out_min: x}", "out_min is a number or null, not 'x'"),
        ("Clamp", "{out_min: true}", "out_min is a number or null, not True"),
        ("Mask", "{masking_method: seg, outside_value: x}", "outside_value is a number"),
        ("ZNormalization", "{masking_method: 1.5}", "masking_method"),
        ("ZNormalization", "{masking_method: {a: 1}}", "masking_method"),
        ("Resample", "{antialias: 1}", "antialias is true or false, not 1"),
        ("Resample", "{image_interpolation: no}", "no"),
        ("RemapLabels", "{remapping: {a: 1}}", "remapping is a mapping"),
        ("To", "{target: {not recorded: torch.device}}", "torch.device"),
        ("HistogramStandardization", "{landmarks: [1, 2]}", "13"),
        ("Pad", "{padding: 1, include: t1}", "include is a list"),
        ("slice", "{ranges: all}", "ranges"),
        ("level", "{number: 1, other: 2}", "other"),
        ("set_affine", "{affine: [[1, 0], [0, 1]]}", "affine"),
    ],
)
def test_arguments_that_a_transform_does_not_take(name, arguments, said):
    error = refused(f"- operation: {name}\n  arguments: {arguments}")
    assert error.code == "BAD_ARGUMENT"
    assert said in str(error)


@pytest.mark.parametrize("version", ["2", "0.2.0", "true", "'1'"])
def test_another_version_is_another_transform(version):
    error = refused(f"- operation: Pad\n  arguments: {{padding: 1}}\n  version: {version}")
    assert error.code == "OTHER_VERSION"


def test_a_history_that_cannot_be_replayed_is_no_pipeline():
    history = image_with(entry("Crop", {"cropping": np.mean})).history
    assert refused(to_text(history)).code == "BAD_ARGUMENT"
    history = image_with(entry("set_data", {})).history
    assert refused(to_text(history)).code == "UNKNOWN_TRANSFORM"


def test_missing_and_undecodable_pipeline_files_are_refused(tmp_path):
    with pytest.raises(vx.MissingFileError):
        vx.Compose.from_yaml(tmp_path / "none.yaml")
    with pytest.raises(vx.FormatError) as caught:
        vx.Compose.from_yaml(tmp_path)
    assert caught.value.code == "BAD_PIPELINE"
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(vx.FormatError) as caught:
        vx.Compose.from_yaml(tmp_path / "bad.yaml")
    assert caught.value.code == "BAD_PIPELINE"


# --- YAML -----------------------------------------------------------------------------------------

TEXTS = ["no", "1e3", "1.", "010", "1:30", "~", "null", "true", "2001-01-01", "a b", "x\ny", "0x10"]


def test_data_come_back_as_they_are():
    data = [*TEXTS, 1e-5, 1e300, -0.0, 0.1, 3, True, None, [1, [2.5]], {"a": {"b": []}}, {2: 3}, ""]
    assert repr(loads(dumps(data))) == repr(data)
    assert loads(dumps([float("inf"), float("-inf")])) == [float("inf"), float("-inf")]


def test_scalars_are_those_of_yaml_1_2():
    text = "[no, 010, 1:30, 1e-3, .5, ~, true, 2001-01-01, 1_000, 0x10, <<]"
    expected = ["no", 10, "1:30", 1e-3, 0.5, None, True, "2001-01-01", "1_000", "0x10", "<<"]
    assert loads(text) == expected


@pytest.mark.parametrize(
    "text", ["!!int '3'", "!!str [a]", "!!map [1]", "? [1]\n: 2", "a: 1\na: 2"]
)
def test_yaml_that_is_no_plain_data(text):
    with pytest.raises(YamlError, match="line"):
        loads(text)


def test_a_transform_that_torchio_alone_has_is_told_as_in_python(tmp_path):
    (tmp_path / "p.yaml").write_text("- operation: RandomAffine\n")
    with pytest.raises(
        vx.FormatError, match=r"augmentation is left to TorchIO.*RandomAffine\("
    ) as caught:
        vx.Compose.from_yaml(tmp_path / "p.yaml")
    assert caught.value.code == "UNKNOWN_TRANSFORM"


def test_interpolated_integers_are_truncated_and_floats_are_not():
    scan = vx.ScalarImage(tensor=np.array([0, -3, 0, -3], np.int16).reshape(1, 4, 1, 1))
    exact = vx.Lambda(lambda voxels: voxels.astype("float32"), [vx.INTENSITY])
    shift = vx.Resample((0.5, 1, 1))
    whole, parts = shift(scan).numpy(), shift(exact(scan)).numpy()
    assert whole.dtype == np.int16
    assert (parts % 1 != 0).any()
    np.testing.assert_array_equal(whole, np.trunc(parts))


@pytest.mark.parametrize("told", [vx.Resample, vx.Resize, vx.Image.resample, vx.Image.resize])
def test_what_interpolates_says_what_becomes_of_integers(told):
    ramp = np.arange(5, dtype=np.int16).reshape(1, 5, 1, 1) * 3
    image = vx.ScalarImage(tensor=np.broadcast_to(ramp, (1, 5, 4, 4)))
    for made in (image.resize((8, -1, -1)), image.resample(0.7)):
        assert made.numpy().dtype == np.int16
    fractions = vx.ScalarImage(tensor=image.numpy().astype("f4")).resize((8, -1, -1)).numpy()
    assert np.array_equal(image.resize((8, -1, -1)).numpy(), np.trunc(fractions))
    said = " ".join(told.__doc__.split())
    assert "Integer images stay integers: interpolated values are truncated toward zero" in said
