"""An image is a dict: every way of reading agrees, and no way of writing goes around it."""

from __future__ import annotations

import copy
import pickle

import dask.array as da
import numpy as np
import pytest
import torch

import voxarray as vx
from scans import SHAPE, voxels
from voxarray.testing.counting import count_reads


@pytest.fixture
def image(scan):
    return vx.ScalarImage(scan, site="A")


def views(image):
    """The fields by every way of reading them all."""
    return [
        dict(image),
        {**image},
        dict(image.items()),
        {key: image[key] for key in image},
        {key: image.get(key) for key in image.keys()},  # noqa: SIM118
        dict(zip(image.keys(), image.values(), strict=True)),
        dict(**image),
        image | {},
        {} | image,
    ]


def assert_agree(image, keys):
    for view in views(image):
        assert type(view) is dict
        assert set(view) == keys
        assert all(view[key] is image[key] for key in keys)
    assert len(image) == len(keys)


def test_reading_agrees(image):
    fields = {"path", "stem", "type", "site"}
    with count_reads() as reads:
        assert_agree(image, fields)
        assert image.get("data") is None
        assert image.get("affine") is None
        assert "data" not in image
        assert bool(image)
    assert reads.voxels == 0
    image.load()
    assert_agree(image, fields | {"data", "affine"})
    image.unload()
    assert_agree(image, fields | {"affine"})


def test_the_affine_needs_the_header_only(image):
    with count_reads() as reads:
        np.testing.assert_array_equal(image["affine"], image.affine)
    assert reads.voxels == 0


def test_writing(image):
    image["age"] = 30
    image.update(site="B", weight=70)
    image |= {"height": 180}
    assert image.setdefault("age", 0) == 30
    assert image.setdefault("sex", "F") == "F"
    assert {k: image[k] for k in ("age", "site", "weight", "height", "sex")} == {
        "age": 30,
        "site": "B",
        "weight": 70,
        "height": 180,
        "sex": "F",
    }
    assert isinstance(image, vx.ScalarImage)
    assert image.pop("weight") == 70
    assert image.pop("weight", None) is None
    assert image.popitem() == ("sex", "F")
    del image["age"]
    for missing in (lambda: image.pop("age"), lambda: image["age"]):
        with pytest.raises(KeyError, match="age"):
            missing()


def test_data_and_affine_go_through_their_setters(image):
    tensor, affine = torch.zeros(1, 2, 3, 4), np.diag([2.0, 2, 2, 1])
    assert image.setdefault("data", tensor) is tensor
    image.update(affine=affine)
    assert image.data is tensor
    assert image.shape == (1, 2, 3, 4)
    assert image.spacing == (2, 2, 2)
    with pytest.raises(ValueError, match="4D"):
        image["data"] = torch.zeros(2)
    with pytest.raises(TypeError, match="Affine must be"):
        image |= {"affine": "RAS"}


@pytest.mark.parametrize("key", ["path", "stem", "type"])
def test_reserved(image, key):
    writes = [
        lambda: image.__setitem__(key, "x"),
        lambda: image.update({key: "x"}),
        lambda: image.update({"fine": 1} | {key: "x"}),
    ]
    for write in writes:
        with pytest.raises(ValueError, match=f'"{key}" is reserved'):
            write()


@pytest.mark.parametrize("key", ["data", "affine", "path", "stem", "type"])
def test_what_cannot_be_removed(image, key):
    image.load()
    for remove in (lambda: image.__delitem__(key), lambda: image.pop(key), image.clear):
        with pytest.raises(vx.StateError, match="cannot be removed"):
            remove()
    assert set(image) == {"path", "stem", "type", "site", "data", "affine"}


def test_keys_are_text(image):
    with pytest.raises(TypeError, match="named by text, not by 1"):
        image[1] = 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(image)


# --- Copies -------------------------------------------------------------------------------------

COPIES = [copy.copy, copy.deepcopy, lambda image: pickle.loads(pickle.dumps(image))]
COPIES += [lambda image: image.copy()]


@pytest.mark.parametrize("make", COPIES)
def test_copies_neither_load_nor_look(image, make):
    path = image.path
    window = image[1:3, ::-1]
    with count_reads() as reads:
        copies = make(image), make(window)
    assert reads.voxels == 0
    assert [type(c) for c in copies] == [vx.ScalarImage] * 2
    assert copies[0] == image
    assert copies[1] == window
    assert "data" not in copies[0]
    fresh = vx.ScalarImage(path, site="A")
    path.unlink()
    with count_reads() as reads:
        gone = make(fresh)
    assert reads.voxels == 0
    assert dict(gone) == dict(fresh)


@pytest.mark.parametrize("make", COPIES)
def test_copies_are_apart_in_their_fields(image, make):
    other = make(image)
    other["site"] = "B"
    other.affine = np.eye(4)
    assert image["site"] == "A"
    assert not np.array_equal(image.affine, np.eye(4))


@pytest.mark.parametrize("given", ["file", "numpy", "tensor"])
def test_shallow_copies_share_the_tensor_and_deep_ones_do_not(image, given):
    if given != "file":
        array = voxels() if given == "numpy" else torch.from_numpy(voxels())
        image = vx.ScalarImage(tensor=array, bvals=[1, 2])
    image.load()
    assert copy.copy(image).data is image.data
    for make in COPIES[1:3]:
        deep = make(image)
        deep.data[:] = 0
        assert deep.get("bvals") == image.get("bvals")
        np.testing.assert_array_equal(image.data, voxels())
        assert deep.array.max() == 0
        assert deep.array.data.name != image.array.data.name


def test_copies_of_arrays_do_not_share_names_of_graphs():
    """Two arrays under one dask name would silently replace each other in a computation."""
    for make in COPIES[1:3]:
        array = voxels()
        image = vx.ScalarImage(tensor=array)
        other = make(image)
        array[:] = 0
        total = (image.array + other.array).compute()
        np.testing.assert_array_equal(total, voxels())


@pytest.mark.parametrize("make", [torch.from_numpy, np.asarray])
@pytest.mark.parametrize("load", [False, True])
@pytest.mark.parametrize("step", [10, -10])
def test_a_pickled_slice_holds_the_slice_only(make, load, step):
    image = vx.ScalarImage(tensor=make(voxels((1, 50, 50, 50))))
    if load:
        image.load()
    part = image[3:5, :4, ::step]
    packed = pickle.dumps(part)
    assert len(packed) < 5000
    np.testing.assert_array_equal(pickle.loads(packed).data, part.data)
    np.testing.assert_array_equal(copy.deepcopy(part).data, part.data)


def test_lazy_arrays_are_copied_lazily():
    image = vx.ScalarImage(tensor=da.from_array(voxels(), chunks=3))
    for make in COPIES:
        with count_reads() as reads:
            other = make(image[1:])
        assert reads.voxels == 0
        np.testing.assert_array_equal(other.data, voxels()[:, 1:])


# --- Equality -----------------------------------------------------------------------------------


def test_equality_of_what_is_not_loaded(scan, image):
    same = vx.ScalarImage(scan, site="A")
    with count_reads() as reads:
        assert image == same
        assert not (image != same)  # noqa: SIM202  # dict has a != of its own
        assert image[1:][1:] == same[2:]
        assert image != same[1:]
        assert image != vx.ScalarImage(scan)
        assert image != vx.LabelMap(scan, site="A")
        assert image != vx.ScalarImage(scan, site="A", affine=np.eye(4))
        assert image != dict(image)
        assert image in [1, same]
    assert reads.voxels == 0


def test_equality_of_what_is_loaded(scan):
    image, other = (vx.ScalarImage(scan, bvals=np.arange(3)) for _ in range(2))
    image.load()
    with count_reads() as reads:
        assert image != other
    assert reads.voxels == 0
    other.load()
    assert image == other
    other.data[0, 0, 0, 0] += 1
    assert image != other


def test_equality_in_memory():
    tensor = torch.zeros(SHAPE)
    assert vx.ScalarImage(tensor=tensor) == vx.ScalarImage(tensor=tensor.clone())
    assert vx.ScalarImage(tensor=tensor) != vx.ScalarImage(tensor=tensor + 1)
    assert vx.ScalarImage(tensor=tensor) != vx.ScalarImage(
        tensor=tensor, affine=np.diag([2.0] * 3 + [1])
    )
