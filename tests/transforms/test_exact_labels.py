"""Labels that float64 or the type of the image would round, and labels that are fractions."""

from __future__ import annotations

import numpy as np
import pytest

import voxarray as vx
from voxarray.archive.metadata import Label
from voxarray.source.array import ArraySource
from voxarray.source.sliced import SlicedSource
from voxarray.testing.counting import count_reads
from voxarray.transforms.labels import remapped

_BIG = 2**53
_FAR = [0, 1, _BIG, _BIG + 1, _BIG + 2, _BIG + 3, 2**63, 2**63 + 1]
"""Of uint64; float64 holds half of the large ones."""


def _map(values, dtype) -> vx.LabelMap:
    return vx.LabelMap(tensor=np.array(values, dtype).reshape(1, 2, 2, -1))


def _changed(transform, values, dtype) -> list:
    image = _map(values, dtype)
    return transform(image).array.values.ravel().tolist()


def test_large_labels_are_told_apart():
    assert _changed(vx.SequentialLabels(), _FAR, "u8") == list(range(8))
    few = {_BIG + 1: 5, 2**63: 6, 2**63 + 1: 7, -1: 9, 0.5: 9}
    assert _changed(vx.RemapLabels(few), _FAR, "u8") == [few.get(one, one) for one in _FAR]
    assert _changed(vx.RemoveLabels([_BIG + 1, 2**63 + 1]), _FAR, "u8") == [
        0 if one in (_BIG + 1, 2**63 + 1) else one for one in _FAR
    ]
    near = [-_BIG - 1, -_BIG, 0, _BIG + 1]
    remapping = {-_BIG: 1, -_BIG - 1: 2, 2**63: 3}  # no int64 holds all three
    assert _changed(vx.RemapLabels(remapping), near, "i8") == [2, 1, 0, _BIG + 1]


def test_masks_of_large_labels():
    labels = _map(_FAR, "u8")
    scan = vx.ScalarImage(tensor=np.ones((1, 2, 2, 2), "f4"))
    subject = vx.Subject(t1=scan, seg=labels)
    wanted = [_BIG + 1, -1, *range(100, 140)]  # NumPy sorts many, and compares few one by one
    masked = vx.Mask("seg", labels=wanted)(subject)
    assert masked.t1.numpy().ravel().tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    box = vx.CropOrPad(mask_name="seg", labels=wanted)(subject)
    assert box.spatial_shape == (1, 1, 1)
    assert box.seg.array.values.item() == _BIG + 1


def test_a_fraction_masks_no_other_label():
    subject = vx.Subject(
        t1=vx.ScalarImage(tensor=np.ones((1, 2, 2, 1), "f4")), seg=_map([0, 1, 1.5, 2], "f4")
    )
    masked = vx.Mask("seg", labels=[1.5])(subject)
    assert masked.t1.numpy().ravel().tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("dtype", "new", "made"),
    [
        ("f2", 2049, "f4"),
        ("f2", 70000, "f4"),
        ("f2", 70000.5, "f4"),
        ("f2", 2048, "f2"),
        ("f2", 0.1, "f2"),
        ("f4", 2**24 + 1, "f8"),
        ("u1", 2**40, "u8"),
        ("u8", -1, "i8"),
        ("?", 7, "u1"),
    ],
)
def test_new_labels_are_held(dtype, new, made):
    changed = vx.RemapLabels({1: new})(_map([0, 1, 0, 0], dtype))
    assert changed.array.dtype == np.dtype(made)
    assert changed.array.values.ravel().tolist() == [0, np.dtype(made).type(new).item(), 0, 0]


def test_labels_of_both_signs_stay_whole():
    changed = vx.RemapLabels({0: -1, 1: 2**40})(_map([0, 1, 2, 255], "u1"))
    assert changed.array.dtype == np.int64
    assert changed.array.values.ravel().tolist() == [-1, 2**40, 2, 255]


def test_labels_that_no_type_holds():
    for dtype, new in (("u8", {0: -1, 1: 2**63}), ("i8", {0: 2**63}), ("f8", {0: _BIG + 1})):
        with pytest.raises(vx.UnsupportedError, match="do not fit into an image") as error:
            vx.RemapLabels(new)(_map([0, 1, 2, 3], dtype))
        assert error.value.code == "UNSUPPORTED_DTYPE"
    with pytest.raises(vx.UnsupportedError) as error:  # known when it is read, and no sooner
        _changed(vx.RemapLabels({0: -1}), [0, 1, 2, 2**63], "u8")
    assert error.value.code == "OUT_OF_INT64"


def test_fractions_have_no_class():
    for transform in (vx.OneHot(), vx.OneHot(4)):
        with pytest.raises(vx.UnsupportedError, match=r"a label 0\.5") as error:
            transform(_map([0, 0.5, 1, 3], "f4")).numpy()
        assert error.value.code == "LABEL_WITHOUT_CLASS"
        assert transform(_map([0, 2, 1, 3], "f4")).numpy().sum() == 4


def test_names_stay_with_labels_that_stay(tmp_path):
    image = _map([0, 1, 2, 3], "f4")
    scan = vx.ScalarImage(tensor=np.ones((1, 2, 2, 1), "f4"))
    scan.save(tmp_path / "scan.ome.zarr")
    archive = vx.Archive(tmp_path / "scan.ome.zarr")
    named = archive.add_labels("seg", image, names={0: "none", 1: "a", 2: "b", 3: "c"})
    for transform, expected in {
        vx.SequentialLabels(): {0: "none", 1: "a", 2: "b", 3: "c"},
        vx.RemapLabels({1: 1, 2: 1}): {0: "none", 1: "a", 3: "c"},
        vx.RemapLabels({3: 4}): {0: "none", 1: "a", 2: "b", 4: "c"},
    }.items():
        table = transform(named).source.label_table
        assert {one.value: one.name for one in table} == expected


def test_a_fraction_takes_no_name():
    labels = np.array([0, 1, 2, 3], "f4").reshape(1, 2, 2, 1)
    table = (Label(1, "a"), Label(2, "b"))
    named = SlicedSource.of(ArraySource(labels, np.eye(4), label_table=table))
    assert remapped(named, {2: 1.5}, None).label_table == (Label(1, "a"),)


_ORGANS = {1: "liver", 2: "spleen", 3: "kidney"}


def _named(labels, names, dtype="u1"):
    voxels = np.array(labels, dtype).reshape(1, len(labels), 1, 1)
    table = tuple(Label(value, name) for value, name in names.items())
    return SlicedSource.of(ArraySource(voxels, np.eye(4), label_table=table))


@pytest.mark.parametrize("dtype", ["u1", "i4", "f4", "u8"])
@pytest.mark.parametrize(
    ("transform", "labels", "names", "expected"),
    [
        # The new label occurs and has no name: it is not the liver.
        (vx.RemapLabels({1: 2}), [0, 1, 2], {1: "liver"}, {}),
        (vx.RemapLabels({1: 2}), [0, 1, 3], {1: "liver"}, {2: "liver"}),
        (vx.RemapLabels({1: 2, 2: 1}), [0, 1, 2], {1: "liver"}, {2: "liver"}),
        (vx.RemapLabels({1: 7, 4: 7}), [0, 1, 4], {1: "liver"}, {}),
        (vx.RemapLabels({1: 7, 4: 7}), [0, 1, 3], {1: "liver"}, {7: "liver"}),
        (vx.RemapLabels({4: 1}), [0, 1, 4], {1: "liver"}, {1: "liver"}),
        (vx.RemapLabels({1: 2, 2: 1}, (1, 0, 0)), [0, 1, 2], {1: "liver"}, {}),
        (vx.RemapLabels({1: 2}, (1, 0, 0)), [0, 1, 3], {1: "liver"}, {1: "liver", 2: "liver"}),
        # What replaces removed labels is none of them.
        (vx.RemoveLabels([1], 9), [0, 1, 3], {1: "liver"}, {}),
        (vx.RemoveLabels([1], 3), [0, 1, 3], {1: "liver", 3: "rest"}, {3: "rest"}),
        # A name without voxels has no number any more.
        (vx.SequentialLabels(), [0, 1, 3], _ORGANS, {1: "liver", 2: "kidney"}),
        (vx.SequentialLabels(), [0, 3, 5], _ORGANS, {1: "kidney"}),
        (vx.SequentialLabels(), [0, 3, 5], {5: "spleen"}, {2: "spleen"}),
    ],
)  # fmt: skip
def test_no_name_goes_to_other_voxels(transform, labels, names, expected, dtype):
    changed = transform.apply(_named(labels, names, dtype), None, None)
    assert {one.value: one.name for one in changed.label_table} == expected


@pytest.mark.parametrize("dtype", ["u1", "i4"])
def test_names_of_an_archive_cost_no_reading(tmp_path, dtype):
    scan = vx.ScalarImage(tensor=np.ones((1, 4, 4, 4), "f4"))
    scan.save(tmp_path / "scan.ome.zarr")
    voxels = (np.arange(64).reshape(1, 4, 4, 4) % 3).astype(dtype)
    archive = vx.Archive(tmp_path / "scan.ome.zarr")
    archive.add_labels("seg", vx.LabelMap(tensor=voxels), names={1: "liver", 2: "spleen"})
    stored = vx.Archive(tmp_path / "scan.ome.zarr").labels["seg"]
    with count_reads() as reads:  # it has counted its labels
        moved = vx.RemapLabels({1: 5})(stored[:, :2]).source.label_table
    assert moved == (Label(2, "spleen"), Label(5, "liver"))
    assert reads.voxels == 0
