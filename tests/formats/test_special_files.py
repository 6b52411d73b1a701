"""What is no file: pipes, devices, sockets, links in a circle, pointers to what was not fetched."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import numpy as np
import pytest

import voxarray as vx
from voxarray.cohort.run.build import build
from voxarray.core.errors import MissingFileError, UnsupportedError, VoxarrayError
from voxarray.formats.registry import known_suffixes, open_source
from voxarray.storage.file_identity import FileIdentity

FILES = [s for s in known_suffixes() if not s.endswith((".zarr", ".zarr.zip"))]


@pytest.fixture
def scan(tmp_path):
    image = vx.ScalarImage(tensor=np.zeros((1, 4, 4, 4), np.int16))
    image.save(tmp_path / "a.nii")
    return tmp_path / "a.nii"


@pytest.mark.parametrize("suffix", [*FILES, "", ".txt"])
def test_pipes_are_refused_at_once(tmp_path, suffix):
    path = tmp_path / f"pipe{suffix}"
    os.mkfifo(path)
    with pytest.raises(UnsupportedError, match="a pipe") as caught:
        open_source(path)
    assert caught.value.code == "NOT_A_FILE"
    assert caught.value.path == str(path)


def test_devices_and_sockets_are_refused(tmp_path, monkeypatch):
    (tmp_path / "zero.nii").symlink_to("/dev/zero")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s.nii")
        for name, kind in (("zero.nii", "a device"), ("s.nii", "a socket"), ("/dev/null", "dev")):
            with pytest.raises(UnsupportedError, match=kind) as caught:
                open_source(name)
            assert caught.value.code == "NOT_A_FILE"


def test_a_pipe_in_the_place_of_an_open_file_is_a_change(scan):
    source = open_source(scan)
    scan.unlink()
    os.mkfifo(scan)
    with pytest.raises(VoxarrayError) as caught:
        source.read(vx.ScalarImage(tensor=np.zeros((1, 4, 4, 4))).source.selection)
    assert caught.value.code == "SOURCE_CHANGED"
    with pytest.raises(UnsupportedError):
        FileIdentity.of(scan)


@pytest.mark.parametrize("name", ["b.nii", "b.dcm", "b.hdr", "b.tif", "b.ozx", "b.mhd", "b.HEAD"])
def test_a_pipe_or_a_link_in_a_circle_stops_one_image(tmp_path, scan, name):
    scans = tmp_path / "scans"
    scans.mkdir()
    scan.rename(scans / "a.nii")
    os.mkfifo(scans / name)
    (scans / "c.nii").symlink_to("d.nii")
    (scans / "d.nii").symlink_to("c.nii")
    (scans / "e.nii").symlink_to("nowhere.nii")
    (scans / "folder").symlink_to("folder")
    made = build(scans, tmp_path / "cohort")
    codes = {one.failure.file: one.code for one in made.summary.failed}
    assert made.converted == 1
    assert codes == {
        name: "NOT_A_FILE",
        "c.nii": "LINK_LOOP",
        "d.nii": "LINK_LOOP",
        "e.nii": "NOT_FOUND",
    }


def test_links_in_a_circle_are_named(tmp_path):
    (tmp_path / "c.nii").symlink_to("d.nii")
    (tmp_path / "d.nii").symlink_to("c.nii")
    with pytest.raises(MissingFileError, match="circle") as caught:
        open_source(tmp_path / "c.nii")
    assert caught.value.code == "LINK_LOOP"


def test_what_an_annex_lacks_is_named(tmp_path):
    (tmp_path / "a.nii.gz").symlink_to("../.git/annex/objects/Kx/7q/SHA256E-s9--1.nii.gz/x.nii.gz")
    (tmp_path / "b.nii.gz").write_text("/annex/objects/SHA256E-s1234--abc.nii.gz\n")
    (tmp_path / "c.mgz").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    (tmp_path / "d.nii.gz").write_text("nothing of the sort")
    for name, command in (("a.nii.gz", "git annex get"), ("b.nii.gz", "git annex get"),
                          ("c.mgz", "git lfs pull")):  # fmt: skip
        with pytest.raises(MissingFileError, match=command) as caught:
            open_source(tmp_path / name)
        assert caught.value.code == "NOT_FETCHED"
    with pytest.raises(VoxarrayError) as caught:
        open_source(tmp_path / "d.nii.gz")
    assert caught.value.code != "NOT_FETCHED"


def test_info_of_a_pipe_ends(tmp_path):
    os.mkfifo(tmp_path / "b.nii")
    command = [sys.executable, "-m", "voxarray", "info", "b.nii"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 1
    assert "NOT_A_FILE" in ran.stderr
