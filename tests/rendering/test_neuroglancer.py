"""Neuroglancer is served what is looked at, from the level that has it, and nobody else is."""

from __future__ import annotations

import io
import json
import threading
import zlib
from urllib.error import HTTPError
from urllib.request import urlopen

import dask
import numpy as np
import pytest

import voxarray as vx
from voxarray.rendering.neuroglancer import LazyVolume
from voxarray.testing.counting import count_reads

pytest.importorskip("neuroglancer")

VOXELS = np.random.default_rng(0).integers(0, 999, (1, 130, 70, 40)).astype(np.int16)
AFFINE = np.array([[0, 0, 1.5, 9], [-1, 0, 0, 8], [0, -2, 0, 7], [0, 0, 0, 1]], float)


@pytest.fixture
def archive(tmp_path):
    vx.ScalarImage(tensor=VOXELS, affine=AFFINE).save(tmp_path / "scan.ome.zarr")
    return vx.ScalarImage(tmp_path / "scan.ome.zarr")


def volume(image, **kwargs):
    return LazyVolume(image.source, range(1), is_labels=kwargs.get("is_labels", False))


def test_voxels_at_full_resolution(archive):
    found = volume(archive).read((3, 5, 7), (9, 70, 40), (1, 1, 1))
    np.testing.assert_array_equal(found, VOXELS[0, 3:9, 5:70, 7:40])


def test_factors_take_the_voxel_in_the_middle():
    image = vx.ScalarImage(tensor=VOXELS, affine=AFFINE)
    found = volume(image).read((0, 0, 0), (44, 35, 10), (3, 2, 4))
    assert found.shape == (44, 35, 10)
    np.testing.assert_array_equal(found[:43], VOXELS[0, 1::3, 1::2, 2::4])
    np.testing.assert_array_equal(found[43], found[42])  # the middle of its three is outside
    alone = volume(image).read((43, 0, 0), (44, 35, 10), (3, 2, 4))
    np.testing.assert_array_equal(alone[0], VOXELS[0, 129, 1::2, 2::4])


def test_the_pyramid_is_used(archive):
    level = archive.level(1)
    factors = [round(a / b) for a, b in zip(level.spacing, archive.spacing, strict=True)]
    with count_reads() as reads:
        found = volume(archive).read((0, 0, 0), level.spatial_shape, factors)
    assert reads.voxels == np.prod(level.shape)
    np.testing.assert_array_equal(found, level.numpy()[0])


def test_two_label_maps_have_different_colours():
    labels = vx.LabelMap(tensor=(VOXELS % 4).astype(np.uint8), affine=AFFINE)
    viewer = vx.ScalarImage(tensor=VOXELS, affine=AFFINE).neuroglancer({"a": labels, "b": labels})
    one, two = (viewer.state.layers[name].layer.segment_colors for name in "ab")
    assert all(one[value] != two[value] for value in (1, 2, 3))


def test_labels_are_unsigned():
    voxels = np.where(VOXELS > 900, 3.0, 0.0).astype(np.float32)
    labels = vx.LabelMap(tensor=voxels)
    found = volume(labels, is_labels=True).read((0, 0, 0), (130, 70, 40), (1, 1, 1))
    assert found.dtype == np.uint64
    np.testing.assert_array_equal(found, voxels[0])


def test_complex_voxels_are_refused():
    with pytest.raises(vx.UnsupportedError) as error:
        vx.ScalarImage(tensor=VOXELS.astype(np.complex64)).neuroglancer()
    assert error.value.code == "COMPLEX"


def test_a_stream_that_is_too_large_is_refused(tmp_path):
    vx.ScalarImage(tensor=VOXELS).save(tmp_path / "a.nii.gz")
    with (
        dask.config.set({"voxarray.gzip-whole-limit": 1000}),
        pytest.raises(vx.MemoryBudgetError, match=r"vx\.convert"),
    ):
        vx.ScalarImage(tmp_path / "a.nii.gz").neuroglancer()


@pytest.fixture
def viewer(archive):
    labels = vx.LabelMap(tensor=(VOXELS > 900).astype(np.uint8), affine=AFFINE)
    from neuroglancer import server

    yield archive.neuroglancer(labels)
    server.stop()


def test_opening_reads_the_middle_planes_alone(archive):
    from neuroglancer import server

    with count_reads() as reads:
        archive.neuroglancer()
    server.stop()
    assert reads.voxels < VOXELS.size / 10


def test_only_who_knows_the_address_is_served(viewer):
    url = str(viewer)
    assert url.startswith("http://127.0.0.1:")
    assert len(viewer.token) >= 40
    root = url.split("/v/")[0]
    # The page is the same for everybody; the voxels and what is shown are not.
    for wrong in ("neuroglancer/info/guess", "events/guess?c=1&gc=&gs="):
        with pytest.raises(HTTPError):
            urlopen(f"{root}/{wrong}", timeout=20)


def test_voxels_come_through_the_server(viewer):
    layers = viewer.state.layers
    assert [layer.name for layer in layers] == ["scan", "labels"]
    assert viewer.state.dimensions.names == ("L", "P", "I")
    root = str(viewer).split("/v/")[0]
    token = layers[0].source[0].url.rpartition("/")[2]
    info = json.load(urlopen(f"{root}/neuroglancer/info/{token}", timeout=20))
    assert (info["dataType"], info["shape"]) == ("int16", [130, 70, 40])
    answer = urlopen(f"{root}/neuroglancer/npz/{token}/1,1,1/2,3,4/9,8,7", timeout=20)
    voxels = np.load(io.BytesIO(zlib.decompress(answer.read())))
    np.testing.assert_array_equal(voxels, VOXELS[0, 2:9, 3:8, 4:7])
    for wrong in ("1,1,1/0,0,0/131,70,40", "0,1,1/0,0,0/1,1,1", "1,1/0,0/1,1"):
        with pytest.raises(HTTPError):
            urlopen(f"{root}/neuroglancer/npz/{token}/{wrong}", timeout=20)


def test_the_server_stops_with_the_process(viewer):
    assert all(thread.daemon for thread in threading.enumerate() if "_run_server" in thread.name)
