"""Numbers that voxels are set to: what their type cannot hold is refused, and never wraps."""

import numpy as np
import pytest

import voxarray as vx

FILLED = {
    "Pad": lambda subject, value: vx.Pad(1, padding_mode=value)(subject),
    "CropOrPad": lambda subject, value: vx.CropOrPad(6, padding_mode=value)(subject),
    "Mask": lambda subject, value: vx.Mask("m", outside_value=value, include=["i"])(subject),
    "GridSampler": lambda subject, value: vx.GridSampler(subject, 3, 2, padding_mode=value),
}
TOO_MUCH = [
    ("bool", 2),
    ("uint8", -1),
    ("uint8", 256),
    ("uint8", np.nan),
    ("int8", 300),
    ("uint16", -1000),
    ("int16", 1e6),
    ("int64", np.inf),
    ("int64", 2.0**63),
    ("float16", 1e6),
    ("float32", 1e300),
    ("complex64", 1e300),
]


def subject_of(dtype):
    inside = np.zeros((1, 4, 4, 4), "float32")
    inside[:, 1:3] = 1
    image = vx.ScalarImage(tensor=np.ones((1, 4, 4, 4), dtype))
    return vx.Subject(i=image, m=vx.LabelMap(tensor=inside))


@pytest.mark.parametrize("name", FILLED)
@pytest.mark.parametrize(("dtype", "value"), TOO_MUCH)
def test_what_the_type_cannot_hold_is_refused(name, dtype, value):
    with pytest.raises(vx.UnsupportedError, match=f"does not fit {dtype} voxels") as error:
        FILLED[name](subject_of(dtype), value)
    assert error.value.code == "OUT_OF_TYPE"


@pytest.mark.parametrize("name", ["Pad", "CropOrPad", "Mask"])
@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("bool", 1),
        ("uint8", 255.0),
        ("int8", -128),
        ("int64", 2**40),
        ("float16", np.inf),
        ("float32", np.nan),
        ("complex64", np.inf),
    ],
)
def test_what_the_type_can_hold_is_taken(name, dtype, value):
    image = FILLED[name](subject_of(dtype), value).i
    assert image.dtype == vx.ScalarImage(tensor=np.ones((1, 1, 1, 1), dtype)).dtype
    np.testing.assert_array_equal(image.array.values[0, 0, 0, 0], np.asarray(value, dtype))


@pytest.mark.parametrize("name", ["Pad", "CropOrPad"])
@pytest.mark.parametrize(
    ("dtype", "value", "cut"), [("uint8", 255.9, 255), ("int8", -1.5, -1), ("bool", 0.5, 0)]
)
def test_whole_numbers_lose_a_fraction_as_in_torchio(name, dtype, value, cut):
    assert FILLED[name](subject_of(dtype), value).i.numpy()[0, 0, 0, 0] == cut
    with pytest.raises(vx.UnsupportedError, match="does not fit"):
        FILLED["Mask"](subject_of(dtype), value)


def test_a_border_for_the_scan_does_not_wrap_in_its_label_map():
    scan = vx.ScalarImage(tensor=np.ones((1, 4, 4, 4), "int16"))
    labels = vx.LabelMap(tensor=np.ones((1, 4, 4, 4), "uint8"))
    subject = vx.Subject(ct=scan, seg=labels)
    with pytest.raises(vx.UnsupportedError, match="exclude="):
        vx.Pad(1, padding_mode=-1024)(subject)
    padded = vx.Pad(1, exclude=["ct"])(vx.Pad(1, -1024, exclude=["seg"])(subject))
    assert set(np.unique(padded.seg.numpy())) == {0, 1}
    assert padded.ct.numpy().min() == -1024


@pytest.mark.parametrize("value", [-1, 300, np.nan])
def test_affine_fills_label_maps_with_labels_only(value):
    moved = vx.Affine(1, 0, (2, 0, 0), default_pad_label=value)
    with pytest.raises(vx.UnsupportedError, match="does not fit uint8"):
        moved(vx.LabelMap(tensor=np.ones((1, 4, 4, 4), "uint8")))


@pytest.mark.filterwarnings("ignore:the m:RuntimeWarning")
@pytest.mark.parametrize(
    ("voxels", "mode", "wanted"),
    [
        (np.array([False, False, True]), "mean", 0),
        (np.array([1, 2**63 - 1]), "maximum", 2**63 - 1),
        (np.array([1, 2**64 - 1], "uint64"), "maximum", 2**64 - 1),
        (np.array([-4, -4, 0], "int8"), "mean", -2),
    ],
)
def test_a_statistic_as_a_border_stays_within_the_type(voxels, mode, wanted):
    image = vx.ScalarImage(tensor=voxels.reshape(1, -1, 1, 1))
    assert vx.Pad(1, mode)(image).array.values[0, 0, 0, 0] == wanted


@pytest.mark.parametrize(("dtype", "label"), [("int64", 2**60 + 1), ("uint64", 2**63 + 5)])
def test_labels_that_float64_does_not_hold(tmp_path, dtype, label):
    """As segmentations of neurons have them."""
    image = vx.LabelMap(tensor=np.full((1, 2, 2, 2), label - 2, dtype))
    for transform in (
        vx.Pad(1, padding_mode=label),
        vx.CropOrPad(4, padding_mode=label),
        vx.EnsureShapeMultiple(4),
    ):
        padded = transform(image)
        wanted = 0 if transform.name == "EnsureShapeMultiple" else label
        assert set(np.unique(padded.array.values).tolist()) == {label - 2, wanted}
    padded = vx.Pad(1, padding_mode=np.dtype(dtype).type(label))(image)
    padded.save(tmp_path / "a.ome.zarr")
    image.save(tmp_path / "b.ome.zarr")
    again = vx.replay(tmp_path / "a.ome.zarr", tmp_path / "b.ome.zarr")
    np.testing.assert_array_equal(again.array.values, padded.array.values)
    assert again.array.values.flat[0] == label
