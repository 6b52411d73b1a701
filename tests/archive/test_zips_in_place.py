"""A zipped archive that is written anew in place, with size, time and inode as they were."""

from __future__ import annotations

import os
import pickle
import time

import numpy as np
import pytest

import voxarray as vx
from files_in_place import write_file_in_place
from voxarray.core.errors import ChecksumError, SourceChangedError

SHAPE = (1, 70, 60, 40)


def image_of(seed):
    voxels = np.random.default_rng(seed).integers(0, 9, SHAPE).astype(np.int16)
    return vx.ScalarImage(tensor=voxels)


@pytest.fixture(params=["raw", "default"])
def archive(request, tmp_path):
    """An archive, and what replaces it in place."""
    path, other = tmp_path / "a.ozx", tmp_path / "b.ozx"
    image_of(1).save(path, codec="raw")
    image_of(2).save(other, codec="raw")
    if request.param != "raw":
        image_of(1).save(path, overwrite=True)
        image_of(2).save(other, overwrite=True)
    return path, lambda: in_place(path, other.read_bytes())


def in_place(path, data):
    write_file_in_place(path, data, b"\0")


@pytest.mark.parametrize("read_before", [False, True])
def test_it_is_a_change_and_not_damage(archive, read_before):
    path, write_other = archive
    image = vx.ScalarImage(path)
    _ = image[:, :9].numpy() if read_before else image.shape
    write_other()
    for _ in range(2):
        with pytest.raises(SourceChangedError, match="open it again"):
            image.numpy()


@pytest.mark.parametrize("archive", ["raw"], indirect=True)  # the two have one size
def test_a_zip_rewritten_in_place_opens_with_its_new_voxels(archive):
    path, write_other = archive
    assert path.with_name("b.ozx").stat().st_size == path.stat().st_size
    assert vx.ScalarImage(path).statistics().mean == image_of(1).statistics().mean
    write_other()
    again = vx.ScalarImage(path)
    assert np.array_equal(again.numpy(), image_of(2).numpy())
    assert again.statistics().mean == image_of(2).statistics().mean
    assert vx.verify(path) == []


def test_a_source_that_travels_does_not_show_another(archive):
    path, write_other = archive
    image = vx.ScalarImage(path)
    assert image.shape == SHAPE
    travelling = pickle.dumps(image)
    write_other()
    from voxarray.archive import handle_cache

    handle_cache._manifests.clear()  # as in a process that has not opened it
    handle_cache._shards.clear()
    with pytest.raises(SourceChangedError):
        pickle.loads(travelling).numpy()


def test_what_changes_no_byte_is_no_change(archive):
    path, _ = archive
    image = vx.ScalarImage(path)
    _ = image.shape
    time.sleep(0.02)
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns + 5, status.st_mtime_ns))  # as a backup does
    path.chmod(0o640)
    os.link(path, path.with_name("second.ozx"))
    assert np.array_equal(image.numpy(), image_of(1).numpy())


def test_nor_is_it_where_the_manifest_was_forgotten(archive, monkeypatch):
    """Of many archives that are open at once, only some manifests stay in memory."""
    path, write_other = archive
    from voxarray.archive import handle_cache

    monkeypatch.setattr(handle_cache, "MAX_MANIFESTS", 1)
    image = vx.ScalarImage(path)
    _ = image[:, :9].numpy()
    in_place(path, path.read_bytes())
    vx.ScalarImage(path.with_name("b.ozx")).numpy()
    assert np.array_equal(image[:, 5:].numpy(), image_of(1)[:, 5:].numpy())
    vx.ScalarImage(path.with_name("b.ozx"))[:, :3].numpy()
    write_other()
    with pytest.raises(SourceChangedError):
        image.numpy()


def test_damage_is_still_damage(archive):
    """With the manifest that was there, the archive is the one that was opened."""
    path, _ = archive
    image = vx.ScalarImage(path)
    _ = image.shape
    data = bytearray(path.read_bytes())
    at = data.index(b"scale0/image/c/0/0/0/0") + 2000
    data[at] ^= 1
    in_place(path, bytes(data))
    with pytest.raises(ChecksumError):
        image.numpy()
