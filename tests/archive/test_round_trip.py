"""What goes into an archive comes out of it: every type, shape, form and selection."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from archive_samples import (
    DTYPES,
    OBLIQUE,
    archive,
    blobs,
    numpy_index,
    same_bits,
    voxels,
    whole,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voxarray.archive.profiles import PROFILES
from voxarray.archive.source import open_archive
from voxarray.archive.verify import compare, verify
from voxarray.core.errors import OutOfRangeError, UnsupportedError
from voxarray.geometry.selection import Selection
from voxarray.source.array import ArraySource
from voxarray.source.base import Channels
from voxarray.source.sliced import SlicedSource
from voxarray.testing.strategies import affines, index_expressions, shapes


@pytest.mark.parametrize("codec", sorted(PROFILES))
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_and_codec(tmp_path, dtype, codec):
    array = voxels((2, 9, 6, 11), dtype)
    path = archive(tmp_path / "a.ome.zarr", array, codec=codec, chunk=4, levels=1)
    assert same_bits(whole(path), array)
    assert np.array_equal(open_archive(path).affine, OBLIQUE)


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.nii.zarr", "a.zarr", "a.ozx", "A.OZX"])
def test_every_form(tmp_path, name):
    array, seg = voxels((3, 7, 12, 5), "f4"), blobs((1, 7, 12, 5), "u1")
    path = archive(tmp_path / name, array, labels={"seg": seg}, chunk=4)
    assert same_bits(whole(path), array)
    assert same_bits(whole(path / "labels" / "seg"), seg)
    assert path.is_file() == name.lower().endswith(".ozx")
    assert verify(path) == []


@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, 1),
        (1, 1, 1, 77),
        (1, 77, 1, 1),
        (1, 1, 77, 3),
        (1, 64, 64, 64),
        (1, 65, 63, 1),
        (1, 33, 47, 129),
        (257, 1, 1, 1),
        (9000, 1, 1, 2),
        (40, 5, 4, 3),
        (3, 17, 19, 23),
    ],
)
def test_every_proportion(tmp_path, shape):
    array = voxels(shape, "u2")
    path = archive(tmp_path / "a.ome.zarr", array)
    assert same_bits(whole(path), array)
    assert verify(path) == []


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shape=shapes(max_size=21, max_channels=5),
    affine=affines(),
    dtype=st.sampled_from(DTYPES),
    codec=st.sampled_from([None, *sorted(PROFILES)]),
    chunk=st.sampled_from([2, 4, 6, 16, 64]),
    levels=st.sampled_from([None, 1, 2, 4]),
    time=st.booleans(),
    label=st.booleans(),
    suffix=st.sampled_from([".ome.zarr", ".ozx"]),
)
def test_any_image(
    tmp_path_factory, shape, affine, dtype, codec, chunk, levels, time, label, suffix
):
    array = voxels(shape, dtype)
    channels = Channels("time", 2.5) if time else Channels()
    path = archive(
        tmp_path_factory.mktemp("any") / f"a{suffix}",
        array,
        affine,
        channels=channels,
        kind="label" if label else "intensity",
        codec=codec,
        chunk=chunk,
        levels=levels,
    )
    opened = open_archive(path)
    assert same_bits(whole(opened), array)
    assert np.array_equal(opened.affine, affine)
    assert opened.channels == channels
    for number in range(opened.levels):
        whole(opened.level(number))  # every chunk of every level is there and decodes
    assert verify(path) == []
    assert compare(path, ArraySource(array, affine)) == []


@pytest.fixture(scope="module", params=[".ome.zarr", ".ozx"])
def scan(request, tmp_path_factory):
    """An image of several shards, some chunks of it background, and its archive."""
    array = voxels((3, 19, 10, 23), "f4")
    array[:, :8, :, :12] = 0
    path = archive(tmp_path_factory.mktemp("scan") / f"a{request.param}", array, chunk=2, levels=1)
    opened = open_archive(path)
    assert len(list(opened.array.layout.shards())) > 20
    return array, opened


@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_any_selection_is_numpys(scan, data):
    array, opened = scan
    key = data.draw(index_expressions(array.shape))
    assert same_bits(opened.read(Selection.whole(array.shape)[key]), numpy_index(array, key))


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_selections_of_selections_are_numpys(scan, data):
    array, opened = scan
    window, expected = SlicedSource.of(opened), array
    for _ in range(3):
        key = data.draw(index_expressions(expected.shape))
        window, expected = window[key], numpy_index(expected, key)
    seen = window.read(Selection.whole(window.shape))
    assert same_bits(seen, expected)
    assert same_bits(pickle.loads(pickle.dumps(window)).read(Selection.whole(window.shape)), seen)


def test_background_is_no_chunk_and_minus_zero_is_one(tmp_path):
    zeros = np.zeros((1, 32, 32, 32), np.float32)
    nothing = archive(tmp_path / "0.ome.zarr", zeros, levels=1)
    shard = nothing / "scale0/image/c/0/0/0/0"
    assert shard.stat().st_size == 4 + 16 + 4  # table and index of one absent chunk
    assert same_bits(whole(nothing), zeros)
    minus = -zeros
    assert same_bits(whole(archive(tmp_path / "1.ome.zarr", minus, levels=1)), minus)


def test_bool_comes_back_as_bool(tmp_path):
    array = blobs((1, 9, 8, 7)) > 2
    assert same_bits(whole(archive(tmp_path / "a.ome.zarr", array)), array)


def test_big_endian_comes_back_native(tmp_path):
    array = blobs((1, 9, 8, 7), ">i4")
    seen = whole(archive(tmp_path / "a.ome.zarr", array, chunk=4))
    assert seen.dtype == np.dtype("i4")
    assert np.array_equal(seen, array)


@pytest.mark.parametrize("dtype", ["f16", "c32", "M8[s]", "S3"])
def test_what_zarr_cannot_hold_is_refused(tmp_path, dtype):
    array = np.zeros((1, 2, 2, 2), dtype)
    with pytest.raises(UnsupportedError, match="cannot be archived") as caught:
        archive(tmp_path / "a.ome.zarr", array)
    assert caught.value.code == "UNSUPPORTED_DTYPE"
    assert list(tmp_path.iterdir()) == []


def test_a_level_that_is_not_there(tmp_path):
    opened = open_archive(archive(tmp_path / "a.ome.zarr", blobs((1, 8, 8, 8)), levels=2))
    assert opened.level(0) is not None
    for number in (2, -1):
        with pytest.raises(OutOfRangeError, match="coarsest level is 1") as caught:
            opened.level(number)
        assert caught.value.code == "NO_LEVEL"


def test_facts_of_a_label_map(tmp_path):
    path = archive(
        tmp_path / "a.ome.zarr", blobs((1, 8, 8, 8)), labels={"seg": blobs((1, 8, 8, 8), "u1", 1)}
    )
    (label,) = open_archive(path / "labels/seg").label_table
    assert (label.value, label.name, label.colour) == (1, "one", (255, 0, 0, 255))
