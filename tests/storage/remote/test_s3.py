"""Images in a bucket: moto's S3 server on loopback, through obstore."""

from __future__ import annotations

import pickle

import dask.config
import numpy as np
import pytest
import zarr
from click.testing import CliRunner

import voxarray as vx
from voxarray.archive.verify import verify
from voxarray.cli import main
from voxarray.core.errors import (
    AccessDeniedError,
    MissingDataError,
    MissingFileError,
    SourceChangedError,
    UnsupportedError,
    VoxarrayError,
)
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection
from voxarray.storage.remote import obstore_objects
from voxarray.storage.remote.address import Address
from voxarray.storage.remote.objects import Failure, forget

boto3 = pytest.importorskip("boto3")
moto = pytest.importorskip("moto.server", reason="pip install 'moto[server]'")

BUCKET = "scans"


@pytest.fixture(scope="module")
def server():
    running = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture(scope="module")
def client(server, scans):
    s3 = boto3.client(
        "s3",
        endpoint_url=server,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    s3.create_bucket(Bucket=BUCKET)
    for file in scans.rglob("*"):
        if file.is_file():
            s3.put_object(
                Bucket=BUCKET,
                Key=f"study/{file.relative_to(scans).as_posix()}",
                Body=file.read_bytes(),
            )
    return s3


@pytest.fixture(autouse=True)
def _reachable(server, client):
    obstore_objects._connected.cache_clear()
    options = {
        "endpoint": server,
        "access_key_id": "key",
        "secret_access_key": "secret",
        "virtual_hosted_style_request": False,
        "client_options": {"allow_http": True},
    }
    with dask.config.set({"voxarray.remote-options": {"s3": options}}):
        yield
    obstore_objects._connected.cache_clear()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mgz", "a.ome.zarr", "a.ozx"])
def test_the_same_image_as_the_file(scans, voxels, name):
    scan = vx.ScalarImage(f"s3://{BUCKET}/study/{name}")
    assert scan["path"] == f"s3://{BUCKET}/study/{name}"
    assert scan["stem"] == "a"
    np.testing.assert_array_equal(scan.affine, vx.ScalarImage(scans / name).affine)
    np.testing.assert_array_equal(scan[4:9, ::-1, 3].numpy()[0], voxels[4:9, ::-1, 3:4])
    assert f'path: "s3://{BUCKET}/study/{name}"' in repr(scan)
    again = pickle.loads(pickle.dumps(scan))
    assert again == scan
    np.testing.assert_array_equal(again.numpy()[0], voxels)


def test_archives_are_read_as_strictly(client, scans, voxels):
    url = f"s3://{BUCKET}/study/a.ome.zarr"
    assert verify(url) == []
    brain = vx.LabelMap(f"{url}/labels/brain")
    np.testing.assert_array_equal(brain.numpy()[0], voxels % 3)
    for file in (scans / "a.ome.zarr").rglob("*"):
        if file.is_file() and file.name != "manifest.json":
            key = f"half/a.ome.zarr/{file.relative_to(scans / 'a.ome.zarr').as_posix()}"
            client.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes())
    with pytest.raises(MissingDataError) as caught:
        open_source(f"s3://{BUCKET}/half/a.ome.zarr")
    assert caught.value.code == "NO_MANIFEST"
    client.put_object(
        Bucket=BUCKET,
        Key="half/a.ome.zarr/manifest.json",
        Body=(scans / "a.ome.zarr/manifest.json").read_bytes(),
    )
    client.delete_object(Bucket=BUCKET, Key="half/a.ome.zarr/scale0/image/c/0/0/0/0")
    forget()
    with pytest.raises(MissingDataError, match="scale0/image/c/0/0/0/0"):
        vx.ScalarImage(f"s3://{BUCKET}/half/a.ome.zarr").numpy()


def test_zarr_of_others(client, tmp_path):
    import xarray as xr

    coords = {"x": ("x", [0.0, 2.0, 4.0], {"units": "mm"}), "y": ("y", [1.0, 2.0], {"units": "mm"})}
    data = xr.Dataset({"v": (("y", "x"), np.arange(6).reshape(2, 3))}, coords)
    data.to_zarr(tmp_path / "x.zarr", consolidated=False)
    for file in (tmp_path / "x.zarr").rglob("*"):
        if file.is_file():
            client.put_object(
                Bucket=BUCKET,
                Key=f"folder/{file.relative_to(tmp_path / 'x.zarr').as_posix()}",
                Body=file.read_bytes(),
            )
    for url in (f"s3://{BUCKET}/folder", f"s3://{BUCKET}/folder/v"):
        source = open_source(url)
        assert source.grid.spacing == (2, 1, 1)
        np.testing.assert_array_equal(
            vx.ScalarImage(url).numpy()[0, :, :, 0], np.arange(6).reshape(2, 3).T
        )


@pytest.mark.parametrize("change", ["written again", "deleted"])
@pytest.mark.parametrize("shards", [None, (4, 4)])
@pytest.mark.filterwarnings("ignore::voxarray.core.errors.VoxarrayWarning")  # it has no scale
def test_chunks_of_others_that_change(client, tmp_path, change, shards):
    voxels = np.arange(16, dtype="i2").reshape(4, 4)
    shape = {"shape": (4, 4), "chunks": (2, 2), "shards": shards, "dimension_names": ["y", "x"]}
    array = zarr.create_array(tmp_path / "b.zarr", dtype="i2", **shape)
    array[...] = voxels
    for file in (tmp_path / "b.zarr").rglob("*"):
        if file.is_file():
            key = f"changing/{file.relative_to(tmp_path).as_posix()}"
            client.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes())
    url = f"s3://{BUCKET}/changing/b.zarr"
    source = open_source(url)
    whole = Selection.whole(source.shape)
    for _ in range(2):
        np.testing.assert_array_equal(source.read(whole)[0, ..., 0], voxels.T)
    key = "changing/b.zarr/c/0/0"
    if change == "deleted":
        client.delete_object(Bucket=BUCKET, Key=key)
    else:
        array[...] = 3  # the same number of bytes, but for compression
        data = (tmp_path / "b.zarr/c/0/0").read_bytes()
        client.put_object(Bucket=BUCKET, Key=key, Body=data)
    forget()  # what was asked about within the last second
    for _ in range(2):
        with pytest.raises(SourceChangedError):
            source.read(whole)
    if change == "written again":
        assert (open_source(url).read(whole)[0, :2, :2] == 3).all()


def test_missing_objects_and_buckets_are_refused():
    for name in ("none.nii", "none.nii.gz", "none.ozx"):
        with pytest.raises(MissingFileError):
            open_source(f"s3://{BUCKET}/study/{name}")
    for name in ("none.ome.zarr", "none"):
        with pytest.raises(VoxarrayError) as caught:
            open_source(f"s3://{BUCKET}/study/{name}")
        assert caught.value.code in ("NOT_FOUND", "NO_NODE")
    with pytest.raises(VoxarrayError):
        open_source("s3://no-such-bucket/a.nii")


def test_secrets_are_not_shown(monkeypatch):
    with dask.config.set({"voxarray.remote-attempts": 1}):
        scan = vx.ScalarImage(f"s3://{BUCKET}/study/a.nii")
        assert "secret" not in repr(scan.source) + scan.source.token()
        assert b"secret" not in pickle.dumps(scan)


def test_no_credentials():
    error = Exception("Error performing PUT http://169.254.169.254/latest/api/token")
    objects = obstore_objects.ObstoreObjects(Address.parse("s3://b"))
    assert objects._failure(error) is Failure.DENIED


def test_denied(monkeypatch):
    class PermissionDeniedError(Exception):
        pass

    def refuse(*_):
        raise PermissionDeniedError("status: 403 Forbidden")

    monkeypatch.setattr(obstore_objects.ObstoreObjects, "_stat", refuse)
    with pytest.raises(AccessDeniedError, match="credentials"):
        open_source(f"s3://{BUCKET}/study/a.nii")


@pytest.mark.parametrize(
    "url", [f"s3://{BUCKET}/study/", f"s3a://{BUCKET}/study", f"s3://{BUCKET}"]
)
def test_folders_of_a_store_are_refused_by_name(url):
    with pytest.raises(UnsupportedError, match=r"folder|store") as caught:
        open_source(url)
    assert caught.value.code == "REMOTE_FOLDER"


def test_s3a_takes_the_options_of_s3(voxels):
    scan = vx.ScalarImage(f"s3a://{BUCKET}/study/a.nii")
    np.testing.assert_array_equal(scan.numpy()[0], voxels)


def test_options_that_change_reach_another_store(client, server, voxels):
    """What is known of a place holds for the options that it was asked with."""
    url = f"s3://{BUCKET}/study/a.nii"
    assert open_source(url).token() == open_source(url).token()
    first = open_source(url)
    elsewhere = {"s3": {"endpoint": "http://127.0.0.1:1", "skip_signature": True}}
    settings = {"voxarray.remote-options": elsewhere, "voxarray.remote-attempts": 1}
    with dask.config.set(settings), pytest.raises(VoxarrayError) as caught:
        open_source(url)
    assert caught.value.code == "TRANSPORT"
    assert open_source(url).token() == first.token()


def test_the_command_verifies_an_archive_behind_a_url():
    result = CliRunner().invoke(main, ["verify", f"s3://{BUCKET}/study/a.ome.zarr"])
    assert result.exit_code == 0, result.output
