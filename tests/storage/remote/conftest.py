from __future__ import annotations

import itertools
import shutil

import dask.config
import nibabel as nib
import numpy as np
import pytest

from buckets import Bucket, reached_through
from object_server import ObjectServer
from remote_samples import AFFINE
from voxarray.archive.convert import convert
from voxarray.archive.options import LabelLayer, Options
from voxarray.source.array import ArraySource
from voxarray.storage.local_copies import COPIES
from voxarray.storage.remote import objects, retries
from web_server import WebServer

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch, tmp_path):
    monkeypatch.setattr(retries, "pause", lambda _: None)
    COPIES.clear()
    with dask.config.set({"voxarray.download-directory": str(tmp_path / "copies")}):
        COPIES._folder = None
        yield
    COPIES.clear()
    objects.forget()


@pytest.fixture(scope="session")
def voxels():
    return np.random.default_rng(0).integers(0, 900, (30, 26, 22)).astype("i2")


@pytest.fixture(scope="session")
def scans(tmp_path_factory, voxels):
    """One image in the forms that are read by ranges, or through a copy."""
    root = tmp_path_factory.mktemp("scans")
    image = nib.Nifti1Image(voxels, AFFINE)
    for name in ("a.nii", "a.nii.gz"):
        nib.save(image, root / name)
    nib.save(nib.MGHImage(voxels, AFFINE.astype("f4")), root / "a.mgz")
    layer = LabelLayer(ArraySource((voxels[None] % 3).astype("u1"), AFFINE))
    for name in ("a.ome.zarr", "a.ozx"):
        source = ArraySource(voxels[None], AFFINE)
        convert(source, root / name, labels={"brain": layer}, options=Options(levels=2, chunk=8))
    return root


@pytest.fixture
def web(scans):
    with WebServer(scans) as server:
        yield server


@pytest.fixture(scope="session")
def object_server():
    with ObjectServer() as server:
        yield server


@pytest.fixture(scope="session")
def moto_server():
    moto = pytest.importorskip("moto.server", reason="pip install 'moto[server]'")
    running = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture(params=["ours", pytest.param("moto", marks=pytest.mark.slow)])
def bucket(request):
    """A new bucket, which s3:// reaches."""
    name = f"bucket-{next(_numbers)}"
    if request.param == "ours":
        server = request.getfixturevalue("object_server")
        server.faults, server.delay, server.probability = (), 0.0, 0.2
        server.paths.clear()
        server.refuses = lambda _: None
        with reached_through(server.url):
            yield Bucket(name, server.url, server)
        return
    boto3 = pytest.importorskip("boto3")
    url = request.getfixturevalue("moto_server")
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    client.create_bucket(Bucket=name)
    with reached_through(url):
        yield Bucket(name, url)


@pytest.fixture
def server(bucket):
    """The server of the bucket, for tests that make it fail."""
    if bucket.server is None:
        pytest.skip("moto does not fail when it is told to")
    return bucket.server


@pytest.fixture
def kept(tmp_path):
    """Folder of a cache of chunks, which is used while the test runs."""
    folder = tmp_path / "kept"
    values = {"voxarray.remote-cache": "64 MiB", "voxarray.remote-cache-directory": str(folder)}
    with dask.config.set(values):
        yield folder
    shutil.rmtree(folder, ignore_errors=True)  # else it is named when the tests end
