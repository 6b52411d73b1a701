"""What reading from a bucket asks for: few requests, side by side, each checked."""

from __future__ import annotations

import os

import numpy as np
import pytest

import voxarray as vx
from voxarray.core.errors import SourceChangedError, VoxarrayError
from voxarray.storage.remote import objects


def save(bucket, name="a.ome.zarr", seed=0, **options):
    voxels = np.random.default_rng(seed).integers(1, 900, (1, 60, 50, 40)).astype("i2")
    vx.ScalarImage(tensor=voxels).save(f"{bucket.url}/{name}", chunks=16, **options)
    objects.forget()
    return voxels


def asked(server, read):
    server.paths.clear()
    result = read()
    keys = [path.partition("a.ome.zarr/")[2] for path in server.paths if path.startswith("GET")]
    return result, keys  # whether the manifest is still the same is asked by HEAD, meanwhile


def test_opening_asks_for_three_documents_side_by_side(server, bucket):
    save(bucket)
    _, paths = asked(server, lambda: vx.ScalarImage(f"{bucket.url}/a.ome.zarr").shape)
    assert sorted(paths) == ["manifest.json", "scale0/image/zarr.json", "zarr.json"]


def test_chunks_that_lie_together_are_read_together(server, bucket):
    voxels = save(bucket)
    scan = vx.ScalarImage(f"{bucket.url}/a.ome.zarr")
    assert scan.shape == voxels.shape
    found, paths = asked(server, lambda: scan[0:60, 0:16, 0:16].numpy())
    np.testing.assert_array_equal(found, voxels[:, :60, :16, :16])
    assert paths == ["scale0/image/c/0/0/0/0"] * 2  # its tail, and a row of chunks
    found, paths = asked(server, lambda: scan.numpy())
    np.testing.assert_array_equal(found, voxels)
    assert paths == ["scale0/image/c/0/0/0/0"]


@pytest.mark.parametrize("fault", ["busy", "lost", "cut"])
def test_faults_of_a_part(server, bucket, fault):
    voxels = save(bucket)
    scan = vx.ScalarImage(f"{bucket.url}/a.ome.zarr")
    assert scan.shape == voxels.shape
    server.faults, server.probability = (fault,), 0.2  # six attempts all but never fail
    for box in [(slice(3, 40),) * 3, (slice(20, 60), slice(0, 50, 7), slice(39, None, -1))]:
        np.testing.assert_array_equal(scan[box].numpy(), voxels[(slice(None), *box)])


def test_shard_that_is_replaced_is_noticed(server, bucket):
    voxels = save(bucket)
    key = "a.ome.zarr/scale0/image/c/0/0/0/0"
    scan = vx.ScalarImage(f"{bucket.url}/a.ome.zarr")
    np.testing.assert_array_equal(scan[:4].numpy(), voxels[:, :4])
    bucket.put(key, bucket.get(key)[::-1])
    with pytest.raises(SourceChangedError):
        scan[30:].numpy()
    with pytest.raises(VoxarrayError):
        vx.ScalarImage(f"{bucket.url}/a.ome.zarr")[30:].numpy()


def test_requests_at_once_stay_below_the_setting(server, bucket, monkeypatch):
    import threading

    import dask.config

    from voxarray.archive import joined_requests

    voxels = save(bucket)
    monkeypatch.setattr(joined_requests, "LARGEST_REQUEST", 1)
    monkeypatch.setattr(joined_requests.joined, "__defaults__", (0, 1))
    lock, now, most = threading.Lock(), 0, 0

    def before(_):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        os.sched_yield()
        threading.Event().wait(0.005)
        with lock:
            now -= 1

    scan = vx.ScalarImage(f"{bucket.url}/a.ome.zarr")
    assert scan.shape == voxels.shape
    server.before = before
    try:
        with dask.config.set({"voxarray.remote-requests": 3}):
            np.testing.assert_array_equal(scan.numpy(), voxels)
    finally:
        server.before = lambda _: None
    assert 1 < most <= 3
