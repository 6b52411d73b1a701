"""What all transforms share: kinds that go in and out, names, history, laziness."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import voxarray as vx
from voxarray.geometry.selection import Selection
from voxarray.ops.operation import PART_BYTES, Operation
from voxarray.testing.counting import count_reads
from voxarray.transforms import IntensityTransform, LabelTransform, SpatialTransform, Transform
from voxarray.transforms.argument_names import argument_names


@dataclass(frozen=True, eq=False)
class Doubled(Operation):
    """Each voxel twice as large: the simplest operation."""

    by: int = 2

    def needs(self, selection: Selection) -> tuple[Selection, ...]:
        return (selection,)

    def compute(self, selection, parts: Sequence[np.ndarray]) -> np.ndarray:
        return parts[0] * self.dtype.type(self.by)


class Times(SpatialTransform):
    args_names = ("by",)

    def __init__(self, by: int = 2, **kwargs):
        super().__init__(**kwargs)
        self.by = by

    def apply(self, source, image, subject):
        return source if self.by == 1 else Doubled(source, self.by)


class TimesIntensities(Times, IntensityTransform):
    pass


class TimesLabels(Times, LabelTransform):
    pass


VOXELS = np.arange(2 * 5 * 4 * 3, dtype="int16").reshape(2, 5, 4, 3)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.nii"
    vx.ScalarImage(tensor=VOXELS, affine=np.diag([2, 3, 4, 1.0])).save(path)
    return path


def subject(path):
    return vx.Subject(t1=vx.ScalarImage(path, age=3), seg=vx.LabelMap(path), name="x")


def test_an_image_becomes_a_lazy_image(path):
    image = vx.ScalarImage(path, age=3)
    with count_reads() as reads:
        result = Times()(image)
        assert (result.shape, result.dtype, result["age"]) == (VOXELS.shape, np.dtype("int16"), 3)
        assert reads.voxels == 0
        patch = result[1:3, :, 1]
        assert np.array_equal(patch.numpy(), VOXELS[:, 1:3, :, 1:2] * 2)
        assert reads.voxels == 2 * 2 * 4
    assert isinstance(result, vx.ScalarImage)
    assert np.array_equal(image.numpy(), VOXELS)
    assert np.array_equal(Times()(image[..., ::-1]).numpy(), VOXELS[..., ::-1] * 2)


def test_subjects_and_dicts(path):
    given = subject(path)
    result = Times(3)(given)
    assert isinstance(result, vx.Subject)
    assert list(result) == ["t1", "seg", "name"]
    assert all(np.array_equal(result[k].numpy(), VOXELS * 3) for k in ("t1", "seg"))
    assert isinstance(result["seg"], vx.LabelMap)
    assert np.array_equal(given["t1"].numpy(), VOXELS)
    plain = Times(3)(dict(given))
    assert type(plain) is dict
    assert plain["name"] == "x"
    assert np.array_equal(plain["t1"].numpy(), VOXELS * 3)


def test_arrays(path):
    array = vx.ScalarImage(path).array
    array.name = "ct"
    with count_reads() as reads:
        result = Times()(array)
        assert reads.voxels == 0
    assert (result.name, result.dims, result.chunks is None) == ("ct", ("c", "x", "y", "z"), False)
    assert np.array_equal(result.vox.affine, array.vox.affine)
    assert np.array_equal(result, VOXELS * 2)
    assert np.array_equal(Times()(VOXELS), VOXELS * 2)
    tensor = Times()(torch.from_numpy(VOXELS))
    assert isinstance(tensor, torch.Tensor)
    assert np.array_equal(tensor, VOXELS * 2)
    arrays = {"a": VOXELS, "b": torch.from_numpy(VOXELS), "age": 3}
    result = Times(include=["a", "b"])(arrays)
    assert np.array_equal(result["a"], VOXELS * 2)
    assert isinstance(result["b"], torch.Tensor)
    assert result["age"] == 3
    assert np.array_equal(TimesLabels(include=["a", "b"], label_keys=["a"])(arrays)["b"], VOXELS)
    with pytest.raises(TypeError, match="takes an image, a subject"):
        Times()("a.nii")


def test_which_images(path):
    def changed(transform):
        result = transform(subject(path))
        return {name for name in ("t1", "seg") if result[name].numpy().max() > VOXELS.max()}

    assert changed(Times()) == {"t1", "seg"}
    assert changed(TimesIntensities()) == {"t1"}
    assert changed(TimesLabels()) == {"seg"}
    assert changed(Times(include=["seg"])) == {"seg"}
    assert changed(Times(exclude=["seg"])) == {"t1"}
    assert changed(vx.Compose([Times(), TimesIntensities()], exclude=["t1"])) == {"seg"}
    kept = Times(keep={"t1": "before"})(subject(path))
    assert np.array_equal(kept["before"].numpy() * 2, kept["t1"].numpy())
    with pytest.raises(ValueError, match="cannot both"):
        Times(include=["a"], exclude=["b"])
    with pytest.raises(ValueError, match="sequence of names"):
        Times(include="t1")


def test_what_is_kept_does_not_replace_a_field_without_a_word(path):
    with pytest.warns(vx.VoxarrayWarning, match=r"FIELD_REPLACED: .*'seg'.*'t1'") as one:
        kept = vx.Compose([Times()], keep={"t1": "seg"})(subject(path))
    assert len(one) == 1
    assert one[0].filename == __file__
    assert np.array_equal(kept["seg"].numpy(), VOXELS)
    with pytest.raises(vx.MissingImageError, match=r"NO_SUCH_IMAGE: .*'T1'.*'t1', 'seg'"):
        Times(keep={"T1": "before"})(subject(path))


def test_a_warning_says_if_include_names_no_image(path):
    lone = vx.ScalarImage(path)
    for transform in (
        Times(include=["T1"]),
        vx.Compose([Times(include=["T1"])]),
        vx.Compose([Times()], include=["T1"]),
        vx.CropOrPad(2, include=["T1"]),
    ):
        with pytest.warns(
            vx.VoxarrayWarning, match=r"NOT_INCLUDED: .*\['T1'\].* 't1', 'seg'"
        ) as one:
            result = transform(subject(path))
        assert len(one) == 1
        assert np.array_equal(result["t1"].numpy(), VOXELS)
    with pytest.warns(vx.VoxarrayWarning, match=r"'image' \(.*vx.Subject\(t1=image\)") as one:
        assert np.array_equal(Times(include=["t1"])(lone).numpy(), VOXELS)
    assert one[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Times(include=["seg", "T1"])(subject(path))
        Times(include=["image"])(lone)


def test_an_unknown_argument_is_refused_by_name(path):
    takes = r"Resample\(\) .* 'spacing': it takes target, .*antialias, include, exclude, .*copy$"
    with pytest.raises(TypeError, match=takes):
        vx.Resample(spacing=2)
    with pytest.raises(TypeError, match="it takes include, exclude, keep, label_keys, copy"):
        vx.ToCanonical(to="RAS")
    with pytest.raises(TypeError, match="it takes masking_method, include"):
        vx.ZNormalization(mask="brain")


@pytest.mark.parametrize("name", vx.transforms.__all__)
def test_every_argument_that_is_named_is_taken(name):
    kind = getattr(vx.transforms, name)
    if isinstance(kind, type) and issubclass(kind, vx.Transform):
        named = argument_names(kind)
        assert {*kind.args_names, "include", "copy"} <= set(named)
        assert set(named) <= {*named_in(kind), "include", "exclude", "keep", "label_keys", "copy"}


def named_in(kind):
    """Arguments that help() shows."""
    makers = [vars(one)["__init__"] for one in kind.__mro__ if "__init__" in vars(one)]
    return inspect.signature(makers[0]).parameters.keys() | set(kind.args_names)


def test_without_a_copy(path):
    given, image, plain = subject(path), vx.ScalarImage(path), {"t1": vx.ScalarImage(path)}
    transform = Times(copy=False)
    for data in (given, image, plain):
        assert transform(data) is data
    for changed in (given["t1"], image, plain["t1"]):
        assert np.array_equal(changed.numpy(), VOXELS * 2)


def test_compose(path):
    both = vx.Compose({"first": Times(2), "second": Times(3)})
    assert len(both) == 2
    assert both["second"] is both[1]
    assert repr(both) == "Compose([Times(by=2), Times(by=3)])"
    assert np.array_equal(both(vx.ScalarImage(path)).numpy(), VOXELS * 6)
    with pytest.raises(TypeError, match="have no names"):
        vx.Compose([Times()])["first"]
    with pytest.raises(TypeError, match="must be callable"):
        vx.Compose([3])


def test_history(path, tmp_path):
    image = vx.ScalarImage(path)
    assert image.history == ()
    result = Times(1)(Times(2)(image)[1:])[0]
    names = [entry["operation"] for entry in result.history]
    assert names == ["Times", "slice", "slice"]
    assert result.history[0]["arguments"] == {"by": 2}
    assert result.history[0]["version"] == 1
    result.load()
    assert [entry["operation"] for entry in result.history] == names
    result.save(tmp_path / "a.ome.zarr")
    again = vx.ScalarImage(tmp_path / "a.ome.zarr")
    assert [entry["operation"] for entry in again.history] == [*names, "convert"]
    again.set_data(VOXELS)
    assert again.history[-1]["operation"] == "set_data"


def test_operations_computed_in_parts_equal_the_whole(monkeypatch):
    voxels = np.arange(2 * 64 * 65 * 66, dtype="int32").reshape(2, 64, 65, 66)
    image = Times()(Times()(vx.ScalarImage(tensor=voxels)))
    monkeypatch.setattr("voxarray.ops.operation.PART_BYTES", PART_BYTES >> 14)
    assert len(list(image.source.base._cut(Selection.whole(image.shape)))) > 100
    assert np.array_equal(image.numpy(), voxels * 4)
    assert np.array_equal(image[::-3, 5:50:7, ::-1].numpy(), voxels[:, ::-3, 5:50:7, ::-1] * 4)


def test_tokens():
    source = vx.ScalarImage(tensor=VOXELS).source
    tokens = {Doubled(source).token(), Doubled(source, 3).token(), Doubled(source[1:]).token()}
    assert len(tokens) == 3
    assert Doubled(source).token() == Doubled(source).token()


def test_a_transform_that_does_nothing_says_so():
    with pytest.raises(NotImplementedError, match="defines neither"):
        Transform()(vx.ScalarImage(tensor=VOXELS))


@pytest.mark.parametrize(
    ("returned", "kind"),
    [(lambda _: None, "NoneType"), (lambda one: dict(one), "dict"), (lambda _: 5, "int")],
)
def test_what_apply_transform_must_return(path, returned, kind):
    class Own(Transform):
        def apply_transform(self, subject):
            return returned(subject)

    what = rf"Own.apply_transform returned {kind}, not a subject: return"
    for given in (vx.ScalarImage(path), subject(path), VOXELS):
        for transform in (Own(), vx.Compose([Own()]), Own(keep={"image": "before"})):
            if transform.keep and not isinstance(given, vx.ScalarImage):
                continue
            with pytest.raises(vx.VoxarrayError, match=what) as one:
                transform(given)
            assert (type(one.value).__name__, one.value.code) == ("FormatError", "BAD_TRANSFORM")


@pytest.mark.parametrize(
    ("returned", "kind"),
    [
        (lambda image: image.numpy() * 2, "ndarray"),
        (lambda image: image.array.data * 2, "Array"),
        (lambda image: image.array, "DataArray"),
        (lambda image: image.data, "Tensor"),
        (lambda image: image, "ScalarImage"),
        (lambda image: vx.Subject(a=image), "Subject"),
        (lambda _: None, "NoneType"),
    ],
)
def test_what_apply_must_return(path, returned, kind):
    class Own(Transform):
        def apply(self, source, image, subject):
            return returned(image)

    for given in (vx.ScalarImage(path), subject(path), VOXELS):
        with pytest.raises(vx.VoxarrayError, match=rf"Own.apply returned {kind}, .*Lambda") as one:
            vx.Compose([Own(exclude=["seg"])])(given)
        assert (type(one.value).__name__, one.value.code) == ("FormatError", "BAD_TRANSFORM")
