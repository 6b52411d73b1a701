"""Stores that users made, addresses, and what fsspec reaches."""

from __future__ import annotations

import asyncio

import fsspec
import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore, MemoryStore

import voxarray as vx
from remote_samples import AFFINE
from voxarray.core.errors import MissingDataError, MissingFileError, UnsupportedError
from voxarray.formats.registry import open_source
from voxarray.storage.remote.address import Address
from voxarray.storage.remote.objects import forget


@pytest.fixture
def memory(scans):
    """The scans in fsspec's memory."""
    fs = fsspec.filesystem("memory")
    for file in scans.rglob("*"):
        if file.is_file():
            fs.pipe_file(f"/study/{file.relative_to(scans).as_posix()}", file.read_bytes())
    yield fs
    fs.store.clear()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mgz", "a.ome.zarr", "a.ozx"])
def test_any_fsspec_url(memory, voxels, name):
    scan = vx.ScalarImage(f"memory://study/{name}")
    np.testing.assert_allclose(scan.affine, AFFINE, atol=1e-4)
    np.testing.assert_array_equal(scan[3:9, ::-1, 3].numpy()[0], voxels[3:9, ::-1, 3:4])
    np.testing.assert_array_equal(scan.numpy()[0], voxels)
    with pytest.raises(MissingFileError):
        open_source("memory://study/none.nii")


def test_chained_urls(memory, scans, voxels, tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(scans / "a.nii.gz", "inner/a.nii.gz")
    scan = vx.ScalarImage(f"zip://inner/a.nii.gz::file://{tmp_path}/all.zip")
    assert scan["stem"] == "a"
    np.testing.assert_array_equal(scan.numpy()[0], voxels)


def test_unknown_schemes():
    with pytest.raises(UnsupportedError) as caught:
        open_source("gopher://h/a.nii")
    assert caught.value.code == "UNKNOWN_SCHEME"


@pytest.mark.parametrize("kind", [LocalStore, MemoryStore])
def test_a_store_object_as_path(scans, voxels, kind):
    store = LocalStore(scans / "a.ome.zarr", read_only=True)
    if kind is MemoryStore:
        store = MemoryStore(asyncio.run(_everything(scans / "a.ome.zarr")))
    scan = vx.ScalarImage(store)
    np.testing.assert_array_equal(scan.affine, AFFINE)
    np.testing.assert_array_equal(scan[4:9, ::-1].numpy()[0], voxels[4:9, ::-1])
    assert "ScalarImage" in repr(scan)
    if kind is MemoryStore:
        del store._store_dict["scale0/image/c/0/0/0/0"]
        forget()
        with pytest.raises(MissingDataError):  # ours are read strictly wherever they lie
            vx.ScalarImage(MemoryStore(store._store_dict)).numpy()


async def _everything(folder):
    from zarr.core.buffer import default_buffer_prototype

    files = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    store = LocalStore(folder)
    return {name: await store.get(name, default_buffer_prototype()) for name in files}


def test_a_foreign_store_object(voxels):
    store = MemoryStore()
    array = zarr.create_array(
        store, shape=(22, 26, 30), chunks=(10, 10, 10), dtype="i2", dimension_names=["z", "y", "x"]
    )
    array[...] = voxels.transpose(2, 1, 0)
    scan = vx.ScalarImage(store)
    with pytest.warns(vx.VoxarrayWarning, match="nothing says where"):
        assert scan.shape
    np.testing.assert_array_equal(scan.numpy()[0], voxels)


@pytest.mark.parametrize(
    ("url", "base", "path", "tail", "shown"),
    [
        ("s3://b/x/y.nii", "s3://b", "x/y.nii", "", "s3://b/x/y.nii"),
        ("s3://b/", "s3://b", "", "", "s3://b/"),
        (
            "https://h:8/a%20b.nii?sig=1/2",
            "https://h:8",
            "a b.nii",
            "?sig=1/2",
            "https://h:8/a b.nii",
        ),
        ("https://me:pw@h/a.nii", "https://me:pw@h", "a.nii", "", "https://h/a.nii"),
        ("memory://a/b.nii", "memory://a", "b.nii", "", "memory://a/b.nii"),
        (
            "zip://a.nii::s3://b/c.zip",
            "zip://",
            "a.nii",
            "::s3://b/c.zip",
            "zip://a.nii::s3://b/c.zip",
        ),
        (
            "simplecache::s3://b/c.nii",
            "simplecache::s3://b",
            "c.nii",
            "",
            "simplecache::s3://b/c.nii",
        ),
    ],
)
def test_addresses(url, base, path, tail, shown):
    address = Address.parse(url)
    assert (address.base, address.path, address.tail, address.shown) == (base, path, tail, shown)
    assert Address.parse(address.url) == address
    assert address.join("k").parent == address or not path
