"""A folder of which every file is written anew in place, with sizes, times and inodes as before."""

from __future__ import annotations

import os
import pickle
import shutil
import time

import numpy as np
import pytest

import voxarray as vx
from files_in_place import write_file_in_place
from voxarray.archive import handle_cache
from voxarray.archive.manifest import Manifest
from voxarray.core.errors import ChecksumError, SourceChangedError
from voxarray.geometry.selection import Selection
from voxarray.source.sliced import SlicedSource

SHAPE = (1, 40, 36, 28)
WHOLE = Selection.whole(SHAPE)


def voxels_of(seed):
    return np.random.default_rng(seed).integers(0, 9, SHAPE).astype(np.int16)


@pytest.fixture(params=["raw", "default"])
def archives(request, tmp_path):
    """An archive, and another one whose files have the same names; for `raw` the same sizes too."""
    made = []
    for seed, name in ((1, "a.ome.zarr"), (2, "b.ome.zarr")):
        codec = {"codec": "raw"} if request.param == "raw" else {}
        vx.ScalarImage(tensor=voxels_of(seed)).save(tmp_path / name, **codec)
        made.append(tmp_path / name)
    return made


def write_in_place(path, other):
    """Every file of one archive gets the bytes of another one's, and has the facts that it had."""
    for file in sorted(path.rglob("*")):
        if file.is_file():
            write_file_in_place(file, (other / file.relative_to(path)).read_bytes(), b" ")


def _read_into(image):
    out = np.empty(SHAPE, np.int16)
    image.source.read_into(WHOLE, out)
    return out


def _scanned(image):
    sums = []

    def add(chunk, _):
        sums.append(0 if chunk is None else chunk.sum())

    SlicedSource.of(image.source).base.scan(WHOLE, lambda: add)
    return sum(sums)


ROUTES = {
    "numpy": lambda image: image.numpy(),
    "array": lambda image: image.array.values,
    "proxy": lambda image: np.asarray(image.to_nibabel().dataobj),
    "read_into": _read_into,
    "scan": _scanned,
    "patch": lambda image: image[:, 3:9].numpy(),
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("read_before", [False, True])
def test_it_is_a_change(archives, route, read_before):
    path, other = archives
    image = vx.ScalarImage(path)
    assert image.shape == SHAPE
    if read_before:  # by the source, for an image keeps what was read as a whole
        image.source.read(WHOLE)
    write_in_place(path, other)
    for _ in range(2):
        with pytest.raises(SourceChangedError, match="open it again"):
            ROUTES[route](image)


@pytest.mark.parametrize("archives", ["raw"], indirect=True)  # the two have the same sizes
def test_an_archive_rewritten_in_place_opens_with_its_new_voxels(archives):
    path, other = archives
    image = vx.ScalarImage(path)
    assert np.array_equal(image.numpy(), voxels_of(1))
    assert image.statistics().mean == voxels_of(1).mean()
    token = image.source.token()
    write_in_place(path, other)
    again = vx.ScalarImage(path)
    assert np.array_equal(again.numpy(), voxels_of(2))
    assert again.statistics().mean == voxels_of(2).mean()
    assert again.source.token() != token
    assert vx.verify(path) == []


def test_a_source_that_travels_does_not_show_another(archives):
    path, other = archives
    image = vx.ScalarImage(path)
    assert image.shape == SHAPE
    travelling = pickle.dumps(image)
    write_in_place(path, other)
    forget()  # as in a process that has not opened it
    with pytest.raises(SourceChangedError):
        pickle.loads(travelling).numpy()


def test_the_same_archive_written_again_is_no_change(archives, tmp_path):
    path, _ = archives
    image = vx.ScalarImage(path)
    image[:, :9].numpy()
    shutil.copytree(path, tmp_path / "copy.ome.zarr")
    write_in_place(path, tmp_path / "copy.ome.zarr")
    assert np.array_equal(image.numpy(), voxels_of(1))


def test_nor_is_it_where_the_manifest_was_forgotten(archives, tmp_path, monkeypatch):
    """Of many archives that are open at once, only some manifests stay in memory."""
    path, other = archives
    monkeypatch.setattr(handle_cache, "MAX_MANIFESTS", 1)
    image = vx.ScalarImage(path)
    image[:, :9].numpy()
    shutil.copytree(path, tmp_path / "copy.ome.zarr")
    vx.ScalarImage(other).numpy()
    write_in_place(path, tmp_path / "copy.ome.zarr")
    assert np.array_equal(image.source.read(WHOLE), voxels_of(1))
    vx.ScalarImage(other).numpy()
    write_in_place(path, other)
    with pytest.raises(SourceChangedError):
        image.numpy()


def test_nor_while_its_manifest_is_being_forgotten(archives, monkeypatch):
    """By another thread, which makes the digest meanwhile."""
    path, other = archives
    image = vx.ScalarImage(path)
    image[:, :9].numpy()
    time.sleep(0.02)
    os.utime(path / "manifest.json", ns=(0, os.stat(path / "manifest.json").st_mtime_ns))
    digest, seen = Manifest.digest, []
    store, opened = image.source.base.store, image.source.base.opened
    forgotten = handle_cache.manifest(store, opened)

    def asked_meanwhile(self):
        made = digest.__get__(self)
        if self is forgotten and not seen:
            seen.append(made)
            handle_cache.require_current(store, opened, "scale0/image")
        return made

    monkeypatch.setattr(handle_cache, "MAX_MANIFESTS", 1)
    monkeypatch.setattr(Manifest, "digest", property(asked_meanwhile))
    assert np.array_equal(vx.ScalarImage(other).numpy(), voxels_of(2))
    assert seen


def test_what_changes_no_byte_is_no_change(archives):
    path, _ = archives
    image = vx.ScalarImage(path)
    image[:, :9].numpy()
    time.sleep(0.02)
    for file in [one for one in path.rglob("*") if one.is_file()]:
        status = file.stat()
        os.utime(file, ns=(status.st_atime_ns + 5, status.st_mtime_ns))  # as a backup does
        file.chmod(0o640)
        os.link(file, f"{path.parent}/{status.st_ino}")
    assert np.array_equal(image.numpy(), voxels_of(1))


def test_a_source_that_travels_outlives_a_second_name(archives):
    path, _ = archives
    image = vx.ScalarImage(path)
    assert image.shape == SHAPE
    travelling = pickle.dumps(image)
    time.sleep(0.02)
    os.link(path / "manifest.json", path.parent / "backup")
    forget()
    assert np.array_equal(pickle.loads(travelling).numpy(), voxels_of(1))


def test_damage_is_still_damage(archives, tmp_path):
    """With the manifest that was there, the archive is the one that was opened."""
    path, _ = archives
    image = vx.ScalarImage(path)
    assert image.shape == SHAPE
    shutil.copytree(path, tmp_path / "copy.ome.zarr")
    shard = tmp_path / "copy.ome.zarr/scale0/image/c/0/0/0/0"
    data = bytearray(shard.read_bytes())
    data[2000] ^= 1
    shard.write_bytes(data)
    write_in_place(path, tmp_path / "copy.ome.zarr")
    with pytest.raises(ChecksumError):
        image.numpy()


@pytest.mark.parametrize("archives", ["raw"], indirect=True)
def test_a_second_read_stats_no_file_more_often(archives, monkeypatch):
    path, _ = archives
    image = vx.ScalarImage(path)
    image.source.read(WHOLE)
    asked = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda *a, **k: asked.append(a[0]) or stat(*a, **k))
    image.source.read(WHOLE[:, :9, :9, :9])
    monkeypatch.undo()
    assert [str(one).removeprefix(f"{path}") for one in asked] == [
        "/manifest.json",
        "/scale0/image/c/0/0/0/0",  # mapped: whether it was written since its chunks were checked
    ]


def forget():
    handle_cache._manifests.clear()
    handle_cache._digests.clear()
    handle_cache._agreements.clear()
    handle_cache._shards.clear()
