"""A file that was written again is another file, even where somebody set its times back."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest

import voxarray as vx
from voxarray.core.errors import SourceChangedError
from voxarray.storage import file_identity
from voxarray.storage.file_identity import FileIdentity

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mgz", ".npy", ".tif", ".png")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no time of status changes")


def written(path: Path) -> Path:
    depth = 1 if path.suffix == ".png" else 5
    voxels = np.arange(6 * 7 * depth, dtype=np.uint8).reshape(1, 6, 7, depth)
    if path.suffix == ".npy":
        np.save(path, voxels[0])
    else:
        vx.ScalarImage(tensor=voxels).save(path)
    return path


def rewrite(path: Path, data: bytes) -> None:
    """Write a file in place, as long as it was, and set its times back."""
    before = path.stat()
    time.sleep(0.02)  # the clock of file systems ticks every 4 ms or so
    with open(path, "r+b") as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("is_read_before", [False, True])
def test_a_rewrite_that_keeps_size_and_times_is_noticed(tmp_path, suffix, is_read_before):
    path = written(tmp_path / f"a{suffix}")
    image = vx.ScalarImage(path)
    assert image.shape
    if is_read_before:
        image[:3].numpy()
    rewrite(path, path.read_bytes())
    with pytest.raises(SourceChangedError) as caught:
        image[1:].numpy()
    assert caught.value.code == "SOURCE_CHANGED"
    assert str(path) in str(caught.value)


def test_other_voxels_are_read_when_it_is_opened_again(tmp_path):
    """What the process remembers of the file that it was is not given for the one that it is."""
    path = written(tmp_path / "a.nii.gz")
    other = vx.ScalarImage(tensor=np.full((1, 6, 7, 5), 9, np.uint8))
    other.save(tmp_path / "b.nii")
    vx.ScalarImage(path).save(tmp_path / "a.nii")
    image = vx.ScalarImage(tmp_path / "a.nii")
    assert image.numpy().max() == 209
    rewrite(tmp_path / "a.nii", (tmp_path / "b.nii").read_bytes())
    assert (vx.ScalarImage(tmp_path / "a.nii").numpy() == 9).all()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rights_and_second_names_change_no_voxel(tmp_path, suffix):
    path = written(tmp_path / f"a{suffix}")
    image = vx.ScalarImage(path)
    image[:2].numpy()
    time.sleep(0.02)
    path.chmod(0o640)
    expected = image[1:].numpy()
    os.link(path, tmp_path / "backup")  # as backups by hard links do
    time.sleep(0.02)
    np.testing.assert_array_equal(image[1:].numpy(), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(image))[1:].numpy(), expected)


def test_times_that_a_file_system_makes_up_say_nothing(tmp_path, monkeypatch):
    path = written(tmp_path / "a.nii")
    status, clock = os.stat, iter(range(10**18, 10**18 + 99))

    class Made:
        def __init__(self, real: os.stat_result) -> None:
            self.real = real
            self.st_ctime_ns = next(clock)

        def __getattr__(self, name: str) -> object:
            return getattr(self.real, name)

    monkeypatch.setattr(
        file_identity.os, "stat", lambda *a, **k: Made(status(*a, **k)), raising=True
    )
    identity = FileIdentity.of(path)
    monkeypatch.setattr(file_identity.os, "stat", lambda *a, **k: Made(status(*a, **k)))
    os.close(identity.open())


def test_an_archive_heeds_content_not_status(tmp_path):
    """All that is read of it is compared with its manifest."""
    for name in ("a.ome.zarr", "a.ozx"):
        path = tmp_path / name
        vx.ScalarImage(tensor=np.ones((1, 6, 7, 5), np.uint8)).save(path)
        image = vx.ScalarImage(path)
        image[:2].numpy()
        time.sleep(0.02)
        for file in [path] if path.is_file() else path.rglob("*"):
            file.chmod(0o750)
        assert image.numpy().all()
