"""`Image.show` finds a viewer by TorchIO's rules, or says that there is none."""

from __future__ import annotations

import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import voxarray as vx
from voxarray.testing.counting import count_reads

VOXELS = np.arange(4 * 5 * 6).reshape(1, 4, 5, 6).astype(np.int16)


@pytest.fixture
def viewer(tmp_path, monkeypatch):
    """A program that notes its arguments; nothing else is configured or installed."""
    monkeypatch.delenv("SITK_SHOW_COMMAND", raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    program = tmp_path / "my viewer"
    note, seen = tmp_path / "note", tmp_path / "seen"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{note}" && mv "{note}" "{seen}"\n')
    program.chmod(0o755)
    return program


def seen(viewer):
    file = viewer.parent / "seen"
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    arguments = file.read_text().splitlines()
    file.unlink()
    return arguments


def test_a_file_is_shown_as_it_is(viewer, tmp_path):
    vx.ScalarImage(tensor=VOXELS).save(tmp_path / "a.nii.gz")
    image = vx.ScalarImage(tmp_path / "a.nii.gz")
    with count_reads() as reads:
        image.show(viewer)
    assert seen(viewer) == [str(tmp_path / "a.nii.gz")]
    assert reads.voxels == 0


def test_all_else_is_written_first(viewer, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    vx.ScalarImage(tensor=VOXELS).save(tmp_path / "a.nii.gz")
    image = vx.ScalarImage(tmp_path / "a.nii.gz")
    for shown in (image[1:], vx.LabelMap(tensor=VOXELS)):
        shown.show(viewer)
        (written,) = seen(viewer)
        np.testing.assert_array_equal(np.asarray(nib.load(written).dataobj), shown.numpy()[0])
    image.load()
    image.data[:] = 0
    image.show(viewer)
    assert not np.asarray(nib.load(seen(viewer)[0]).dataobj).any()


def test_the_environment(viewer, tmp_path, monkeypatch):
    vx.ScalarImage(tensor=VOXELS).save(tmp_path / "a.nii")
    image, file = vx.ScalarImage(tmp_path / "a.nii"), str(tmp_path / "a.nii")
    for command, expected in (
        (str(viewer), [file]),
        (f"'{viewer}' --fast", ["--fast", file]),
        (f"'{viewer}' -i %f -q", ["-i", file, "-q"]),
    ):
        monkeypatch.setenv("SITK_SHOW_COMMAND", command)
        image.show()
        assert seen(viewer) == expected


def test_a_guess(viewer, tmp_path, monkeypatch):
    Path(viewer).rename(tmp_path / "itksnap")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    vx.ScalarImage(tensor=VOXELS).save(tmp_path / "a.nii")
    vx.ScalarImage(tmp_path / "a.nii").show()
    assert seen(viewer) == [str(tmp_path / "a.nii")]


@pytest.mark.parametrize("path", [None, "/no/such/viewer"])
def test_no_viewer(viewer, tmp_path, path):
    vx.ScalarImage(tensor=VOXELS).save(tmp_path / "a.nii")
    with (
        count_reads() as reads,
        pytest.raises(RuntimeError, match="Please set the environment variable SITK_SHOW") as error,
    ):
        vx.ScalarImage(tmp_path / "a.nii")[1:].show(path)
    assert error.value.code == "NO_VIEWER"
    assert reads.voxels == 0
