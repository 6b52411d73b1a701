"""What interrupted processes left goes on demand, and what somebody works in never."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import voxarray as vx
from voxarray.archive import staging
from voxarray.archive.cleaning import clean
from voxarray.cli import main
from voxarray.core.errors import MissingFileError
from voxarray.storage import folder_lock
from voxarray.storage.folder_lock import FolderLock, Ownership

OLD = (
    ".a.ome.zarr.my_host-17-0123abcd.staging",
    ".a.ozx.host-1-0123abcd.staging.ozx",
    ".a.nii.gz.0123abcd.partial",
    "voxarray-copies-host-17-x_y",
)


def make(folder: Path, name: str) -> FolderLock:
    folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock.make(str(folder), lambda: staging.hidden_name(name))
    Path(lock.folder, "archive").mkdir()
    Path(lock.folder, "archive/data").write_bytes(bytes(100))
    return lock


def hidden(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.startswith((".", "voxarray-copies")))


@pytest.fixture
def folder(tmp_path):
    """One in use, one abandoned, four of 0.1, in folders of any depth; and a scan."""
    living, dead = make(tmp_path / "deep/down", "a.zarr"), make(tmp_path / "deep", "b.nii.gz")
    dead.release()
    for name in OLD:
        (tmp_path / "deep" / name).mkdir()
        (tmp_path / "deep" / name / "x").write_bytes(bytes(10))
    vx.ScalarImage(tensor=np.zeros((1, 4, 4, 4))).save(tmp_path / "deep/kept.ome.zarr")
    yield tmp_path
    assert living.is_there
    assert vx.verify(tmp_path / "deep/kept.ome.zarr") == []
    living.remove()


def test_what_a_lock_tells_to_be_abandoned_goes(folder):
    found = clean(folder)
    assert len(found) == 6
    by_owner = {owner: [one for one in found if one.ownership is owner] for owner in Ownership}
    assert [one.outcome for one in by_owner[Ownership.ABANDONED]] == ["removed"]
    assert [one.outcome for one in by_owner[Ownership.IN_USE]] == ["left"]
    assert {one.outcome for one in by_owner[Ownership.UNKNOWN]} == {"left"}
    assert by_owner[Ownership.ABANDONED][0].bytes > 100
    assert hidden(folder / "deep") == sorted(OLD)


def test_what_no_lock_can_tell_goes_when_the_user_says_so(folder):
    found = clean(folder, unlocked=True)
    assert sorted(one.outcome for one in found) == ["left", *["removed"] * 5]
    assert hidden(folder / "deep") == []


def test_a_dry_run_removes_nothing(folder):
    before = sorted(folder.rglob("*"))
    assert len(clean(folder, unlocked=True, dry_run=True)) == 6
    assert sorted(folder.rglob("*")) == before


def test_folders_without_locks_are_removed_only_when_asked(tmp_path, monkeypatch):
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)
    make(tmp_path, "a.zarr").release()
    assert [one.outcome for one in clean(tmp_path)] == ["left"]
    assert [one.outcome for one in clean(tmp_path, unlocked=True)] == ["removed"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", [".0123456789abcdef.replaced", ".host-1-0123abcd.staging.old"])
def test_an_archive_that_a_killed_writer_moved_aside_is_restored(tmp_path, end):
    image = vx.ScalarImage(tensor=np.ones((1, 4, 4, 4)))
    path, moved = tmp_path / "a.ome.zarr", tmp_path / f".a.ome.zarr{end}"
    image.save(path)
    path.rename(moved)
    assert clean(tmp_path)[0].outcome == "left"
    assert clean(tmp_path, unlocked=True)[0].outcome == "restored"
    assert vx.ScalarImage(path).numpy().all()
    path.rename(moved)
    image.save(path)
    assert clean(tmp_path, unlocked=True)[0].outcome == "removed"
    assert vx.ScalarImage(path).numpy().all()


def test_a_folder_that_cannot_be_removed_is_reported(tmp_path, monkeypatch):
    make(tmp_path, "a.zarr").release()

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "not yours")

    monkeypatch.setattr(folder_lock.os, "rename", refused)
    (left,) = clean(tmp_path)
    assert (left.outcome, "not yours" in left.problem) == ("failed", True)
    ran = CliRunner().invoke(main, ["clean", str(tmp_path)])
    assert (ran.exit_code, "not yours" in ran.stderr) == (3, True)


def test_there_must_be_a_folder(tmp_path):
    with pytest.raises(MissingFileError):
        clean(tmp_path / "none")
    assert CliRunner().invoke(main, ["clean", str(tmp_path / "none")]).exit_code == 1


def test_the_command(folder):
    ran = CliRunner().invoke(main, ["clean", str(folder)])
    assert ran.exit_code == 0
    assert "1 removed" in ran.stdout
    assert "--unlocked" in ran.stderr
    ran = CliRunner().invoke(main, ["clean", str(folder), "--unlocked"])
    assert "4 removed" in ran.stdout
    assert "in use, left" in ran.stdout
    assert ran.stderr == ""


@pytest.mark.skipif(sys.platform != "linux", reason="names of hosts as 0.1 wrote them")
def test_files_of_others_that_look_alike_stay(tmp_path):
    names = (".a.staging", ".staging", "a.0123456789abcdef.staging", ".x.partial", ".b.replaced")
    for name in names:
        (tmp_path / name).mkdir()
    assert clean(tmp_path, unlocked=True) == []
    assert sorted(os.listdir(tmp_path)) == sorted(names)
