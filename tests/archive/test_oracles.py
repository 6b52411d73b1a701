"""zarr-python, tensorstore and plain xarray see the voxels and the places that we see."""

from __future__ import annotations

import json
import math
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import tensorstore as ts
import xarray as xr
import zarr
from archive_samples import (
    DTYPES,
    OBLIQUE,
    add_tables,
    archive,
    blobs,
    same_bits,
    voxels,
    whole,
    with_all_coordinates,
)
from hypothesis import given, settings

from voxarray.archive.profiles import PROFILES
from voxarray.archive.shard import ABSENT, index_size, tail_size
from voxarray.archive.source import open_archive
from voxarray.source.base import Channels
from voxarray.testing.strategies import affines


def zarr_voxels(path: Path, level: int) -> np.ndarray:
    """Voxels (C, W, H, D) of a level by zarr-python."""
    stored = zarr.open_array(path / f"scale{level}/image", mode="r", zarr_format=3)
    return stored[...].transpose(0, 3, 2, 1)


def tensorstore_voxels(path: Path, level: int) -> np.ndarray:
    """Voxels (C, W, H, D) of a level by tensorstore."""
    spec = {"driver": "zarr3", "kvstore": f"file://{path}/scale{level}/image/"}
    return ts.open(spec, open=True).result().read().result().transpose(0, 3, 2, 1)


def affine_of(dataset: xr.Dataset) -> np.ndarray:
    """Affine (4, 4) that the coordinates of a level say by themselves."""
    placed = np.eye(4)
    for axis, name in enumerate("xyz"):
        values = dataset[name].values
        placed[axis, axis] = (
            values[1] - values[0] if len(values) > 1 else dataset[name].attrs["step"]
        )
        placed[axis, 3] = values[0]
    return np.reshape(dataset["spatial_ref"].attrs["intrinsic_to_world"], (4, 4)) @ placed


@pytest.mark.parametrize(
    ("dtype", "codec"),
    [*((dtype, "default") for dtype in DTYPES), *(("f4", codec) for codec in sorted(PROFILES))],
)
def test_zarr_python_and_tensorstore_read_the_same(tmp_path, dtype, codec):
    path = archive(tmp_path / "a.ome.zarr", voxels((2, 9, 6, 11), dtype), codec=codec, chunk=4)
    opened = open_archive(path)
    assert opened.levels > 1
    for number in range(opened.levels):
        ours = whole(opened.level(number))
        assert same_bits(zarr_voxels(path, number), ours)
        assert same_bits(tensorstore_voxels(path, number), ours)


@pytest.mark.parametrize("codec", sorted(PROFILES))
@pytest.mark.parametrize("dtype", ["i2", "c16"])
def test_what_zarr_python_writes_is_what_we_read(tmp_path, dtype, codec):
    array = voxels((2, 9, 6, 11), dtype)
    array[:, :4, :4, :4] = 0  # zarr-python leaves such chunks out of the index too
    path = archive(tmp_path / "a.ome.zarr", np.zeros_like(array), codec=codec, chunk=4, levels=1)
    theirs = zarr.open_array(path / "scale0/image", mode="r+", zarr_format=3)
    with zarr.config.set({"array.write_empty_chunks": False}):
        theirs[...] = array.transpose(0, 3, 2, 1)
    add_tables(path)
    assert same_bits(whole(path), array)


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
@pytest.mark.filterwarnings("error")
def test_plain_xarray_opens_every_level(tmp_path, dtype):
    array = blobs((3, 9, 6, 11), dtype)
    path = archive(tmp_path / "a.nii.zarr", array, chunk=4, channels=Channels("time", 2.0))
    opened = open_archive(path)
    assert opened.levels > 1
    for number in range(opened.levels):
        dataset = xr.open_zarr(path / f"scale{number}", consolidated=False)
        image = dataset["image"]
        assert image.dims == ("t", "z", "y", "x")
        assert same_bits(image.values.transpose(0, 3, 2, 1), whole(opened.level(number)))
        if number == 0:
            assert {"x", "y", "z", "spatial_ref"} == set(image.coords)
            np.testing.assert_allclose(affine_of(dataset), opened.affine, atol=1e-9)
            assert "positions" not in image.attrs
        else:
            assert not dataset.coords
            assert image.attrs["positions"] == "../../zarr.json"
            assert "coordinates" not in image.encoding
        assert list(dataset) == ["image"]


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
def test_plain_xarray_opens_every_level_of_early_archives(tmp_path, dtype):
    array = blobs((3, 9, 6, 11), dtype)
    path = archive(tmp_path / "a.nii.zarr", array, chunk=4, channels=Channels("time", 2.0))
    opened = open_archive(with_all_coordinates(path))
    for number in range(opened.levels):
        level = opened.level(number)
        dataset = xr.open_zarr(path / f"scale{number}", consolidated=False)
        image = dataset["image"]
        assert image.dims == ("t", "z", "y", "x")
        assert same_bits(image.values.transpose(0, 3, 2, 1), whole(level))
        assert {"x", "y", "z", "spatial_ref"} <= set(image.coords)
        np.testing.assert_allclose(affine_of(dataset), level.affine, atol=1e-9)


def test_plain_xarray_opens_the_tree(tmp_path):
    array, seg = blobs((1, 9, 6, 11)), blobs((1, 9, 6, 11), "u1", 3)
    path = archive(tmp_path / "a.ome.zarr", array, labels={"seg": seg}, chunk=4)
    tree = xr.open_datatree(path, engine="zarr", consolidated=False)
    assert same_bits(tree["scale0/image"].values.transpose(0, 3, 2, 1), array)
    assert same_bits(tree["labels/seg/scale0/image"].values.transpose(0, 3, 2, 1), seg)
    for node in ("scale0", "labels/seg/scale0"):
        np.testing.assert_allclose(affine_of(tree[node].to_dataset()), OBLIQUE, atol=1e-9)


@settings(deadline=None, max_examples=8)
@given(affine=affines())
def test_plain_xarray_has_any_affine(tmp_path_factory, affine):
    folder = tmp_path_factory.mktemp("affine")
    path = archive(folder / "a.ome.zarr", blobs((1, 5, 1, 4)), affine, levels=2)
    with_all_coordinates(path)
    for number in (0, 1):
        dataset = xr.open_zarr(path / f"scale{number}", consolidated=False)
        expected = open_archive(path).level(number).affine
        np.testing.assert_allclose(affine_of(dataset), expected, atol=1e-9)


def test_ome_zarr_says_spacing_and_origin(tmp_path):
    path = archive(tmp_path / "a.ome.zarr", blobs((1, 9, 6, 11)), levels=2)
    ome = json.loads((path / "zarr.json").read_bytes())["attributes"]["ome"]
    (multiscale,) = ome["multiscales"]
    for number, dataset in enumerate(multiscale["datasets"]):
        grid = open_archive(path).level(number).grid
        scale, translation = dataset["coordinateTransformations"]
        np.testing.assert_allclose(scale["scale"][:0:-1], grid.spacing)
        # In the frame of the voxel axes: the directions bring it to the patient's world.
        there = grid.direction @ translation["translation"][:0:-1]
        np.testing.assert_allclose(there, grid.origin, atol=1e-9)


@pytest.mark.parametrize("codec", sorted(PROFILES))
def test_readers_of_zarr_pass_over_the_checksum_table(tmp_path, codec):
    """It stands between the chunks and the index: in a shard, nothing of the index points there."""
    array = voxels((2, 9, 6, 11), "f4")
    array[:, :4, :4, :4] = 0
    path = archive(tmp_path / "a.ome.zarr", array, codec=codec, chunk=4, levels=1)
    opened = open_archive(path)
    slots = math.prod(opened.array.layout.chunks_per_shard)
    shard = (path / "scale0/image/c/0/0/0/0").read_bytes()
    index = np.frombuffer(shard[-index_size(slots) : -4], "<u8").reshape(-1, 2)
    table = np.frombuffer(shard[-tail_size(slots) : -index_size(slots)], "<u4")
    present = index[:, 0] != ABSENT
    assert 0 < present.sum() < slots
    assert index[present].sum(axis=1).max() == len(shard) - tail_size(slots)
    for (offset, length), crc in zip(index[present].tolist(), table[present].tolist(), strict=True):
        assert google_crc32c.value(shard[offset : offset + length - 4]) == crc
    assert not table[~present].any()
    assert same_bits(zarr_voxels(path, 0), array)
    assert same_bits(tensorstore_voxels(path, 0), array)


@pytest.mark.parametrize("codec", sorted(PROFILES))
def test_zarrs_reads_the_same(tmp_path, codec):
    pytest.importorskip("zarrs")
    array = voxels((2, 9, 6, 11), "f4")
    array[:, :4, :4, :4] = 0
    path = archive(tmp_path / "a.ome.zarr", array, codec=codec, chunk=4, levels=1)
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        assert same_bits(zarr_voxels(path, 0), array)
