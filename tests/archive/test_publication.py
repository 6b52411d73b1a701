"""An archive appears whole or not at all, whatever interrupts it."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from archive_samples import archive, blobs, same_bits, whole

from voxarray.archive import held_files, staging, unnamed_zip
from voxarray.archive.convert import convert
from voxarray.archive.options import LabelLayer, Options
from voxarray.archive.verify import verify
from voxarray.core import portable
from voxarray.core import settings as configuration
from voxarray.core.errors import (
    ArchiveError,
    ArchiveExistsError,
    ChecksumError,
    FormatError,
    GridError,
    MemoryBudgetError,
    VoxarrayError,
)
from voxarray.geometry.selection import Selection
from voxarray.source.array import ArraySource
from voxarray.storage.staging_names import is_hidden_staging

OLD, NEW = blobs((1, 12, 9, 30)), blobs((1, 12, 9, 30), seed=7)
FORMS = ("a.ome.zarr", "a.ozx")

# A process that converts NEW again and again, so that a kill may meet it anywhere.
_CONVERTER = """
import sys, numpy as np
from voxarray.archive import held_files
from voxarray.archive.convert import convert
from voxarray.archive.options import Options
from voxarray.source.array import ArraySource
voxels = np.load(sys.argv[2])
held_files.LARGEST *= int(sys.argv[4])
print("ready", flush=True)
while True:
    convert(ArraySource(voxels, np.eye(4)), sys.argv[1],
            options=Options(chunk=4, overwrite=sys.argv[3] == "overwrite"))
    print("done", flush=True)
    if sys.argv[3] == "once":
        break
"""


def convert_array(array: np.ndarray, path: Path, **options: object) -> None:
    convert(ArraySource(array, np.eye(4)), path, options=Options(chunk=4, **options))


def leftovers(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if is_hidden_staging(entry.name))


# --- Killed ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def duration(tmp_path_factory) -> float:
    """Seconds from the start of a conversion to its end, so that kills can meet any part of it."""
    path, voxels = (tmp_path_factory.mktemp("whole") / name for name in ("a.ozx", "voxels.npy"))
    np.save(voxels, NEW)
    command = [sys.executable, "-c", _CONVERTER, path, voxels, "once", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        began = time.perf_counter()
        assert process.stdout.readline() == "done\n"
        return time.perf_counter() - began


def kill_at(moment: float, path: Path, voxels: Path, mode: str, held: bool) -> None:
    """Start a converting process and kill it some seconds after it is ready.

    ``held`` archives are written when all is encoded, others while it is.
    """
    command = [sys.executable, "-c", _CONVERTER, path, voxels, mode, str(int(held))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)


@pytest.mark.syncs
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_a_killed_conversion_leaves_nothing_or_all(tmp_path, form, kills, duration):
    path, voxels = tmp_path / form, tmp_path / "voxels.npy"
    np.save(voxels, NEW)
    rng, met = random.Random(form), set()
    for number in range(kills):
        kill_at(rng.uniform(0, 1.5 * duration), path, voxels, "once", number % 2 == 0)
        met.add(path.exists())
        if path.exists():
            assert verify(path) == []
            assert same_bits(whole(path), NEW)
            convert_array(NEW, path, overwrite=True)
        else:
            convert_array(NEW, path)  # the re-run succeeds, and cleans up
        assert leftovers(tmp_path) == []
        assert same_bits(whole(path), NEW)
        _remove(path)
    assert kills < 50 or met == {True, False}


@pytest.mark.syncs
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_a_killed_overwriting_leaves_the_old_or_the_new(tmp_path, form, kills, duration):
    path, voxels = tmp_path / form, tmp_path / "voxels.npy"
    np.save(voxels, NEW)
    rng = random.Random(form)
    for number in range(kills):
        convert_array(OLD, path, overwrite=True)
        kill_at(rng.uniform(0, 3 * duration), path, voxels, "overwrite", number % 2 == 0)
        assert verify(path) == []
        seen = whole(path)
        assert same_bits(seen, OLD) or same_bits(seen, NEW)
        convert_array(NEW, path, overwrite=True)
        assert leftovers(tmp_path) == []
        assert same_bits(whole(path), NEW)


def _remove(path: Path) -> None:
    import shutil

    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


# --- Refused by the disk --------------------------------------------------------------------------


class FailingDisk:
    """Lets the n-th call of a function of ``os`` fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
        self.calls, self.failing_at, self.number = 0, -1, number
        owner = portable if hasattr(portable, name) else os
        self.original, self.lock = getattr(owner, name), threading.Lock()
        monkeypatch.setattr(owner, name, self)

    def __call__(self, *arguments, **options):
        with self.lock:
            self.calls += 1
            fails = self.calls - 1 == self.failing_at
        if fails:
            raise OSError(self.number, os.strerror(self.number))
        return self.original(*arguments, **options)

    def fail_at(self, call: int) -> None:
        self.calls, self.failing_at = 0, call


def syncs_as_one(monkeypatch: pytest.MonkeyPatch, yes: bool) -> None:
    monkeypatch.setattr(held_files, "is_synced_as_one", lambda _: yes)


@pytest.mark.parametrize(
    ("name", "number", "code"),
    [
        ("write", errno.ENOSPC, "NO_SPACE"),
        ("write", errno.EIO, "IO_ERROR"),
        ("fsync", errno.EIO, "IO_ERROR"),
        ("syncfs", errno.EIO, "IO_ERROR"),
        ("preadv", errno.EIO, "IO_ERROR"),
    ],
)
def test_every_refusal_of_the_disk_is_named_and_undone(tmp_path, monkeypatch, name, number, code):
    path = tmp_path / "a.ome.zarr"
    syncs_as_one(monkeypatch, name == "syncfs")
    disk = FailingDisk(monkeypatch, name, number)
    convert_array(NEW[:, :5], tmp_path / "counted.ome.zarr", levels=2)
    total = disk.calls - (name == "fsync")  # the last one comes after the rename
    assert total > 0
    before = len(os.listdir("/proc/self/fd"))
    for call in range(total):
        disk.fail_at(call)
        with pytest.raises(ArchiveError, match="nothing was changed there") as caught:
            convert_array(NEW[:, :5], path, levels=2)
        assert caught.value.code == code
        assert caught.value.path == str(path)
        assert not path.exists()
        disk.fail_at(-1)
        assert [entry.name for entry in tmp_path.iterdir()] == ["counted.ome.zarr"]
    assert len(os.listdir("/proc/self/fd")) == before
    convert_array(NEW[:, :5], path, levels=2)
    assert same_bits(whole(path), NEW[:, :5])


def test_a_published_archive_whose_name_is_not_synced_is_there(tmp_path, monkeypatch):
    disk = FailingDisk(monkeypatch, "fsync", errno.EIO)
    convert_array(NEW, tmp_path / "counted.ome.zarr")
    disk.fail_at(disk.calls - 1)
    path = tmp_path / "a.ome.zarr"
    with pytest.raises(ArchiveError, match="has its final name") as caught:
        convert_array(NEW, path)
    assert caught.value.code == "NOT_SYNCED"
    assert same_bits(whole(path), NEW)


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_while_small_files_are_written(tmp_path, monkeypatch, form):
    # Python's own files do not call os.write: fail in the function that writes all of them.
    original = staging.Staging.write
    total = _count_small_files(tmp_path, monkeypatch, original)
    for call in range(total):
        left = [call]

        def failing(self, key, data, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "no space")
            original(self, key, data)

        monkeypatch.setattr(staging.Staging, "write", failing)
        with pytest.raises(ArchiveError) as caught:
            convert_array(OLD, tmp_path / form, levels=1)
        assert caught.value.code == "NO_SPACE"
        assert list(tmp_path.iterdir()) == []


def _count_small_files(tmp_path, monkeypatch, original) -> int:
    keys = []
    monkeypatch.setattr(
        staging.Staging,
        "write",
        lambda self, key, data: (keys.append(key), original(self, key, data)),
    )
    convert_array(OLD, tmp_path / "counted.ome.zarr", levels=1)
    _remove(tmp_path / "counted.ome.zarr")
    return len(keys)


def test_a_disk_that_writes_a_part(tmp_path, monkeypatch):
    original = os.write
    monkeypatch.setattr(
        os, "write", lambda fd, data: original(fd, bytes(data)[: max(1, len(data) // 3)])
    )
    convert_array(NEW, tmp_path / "a.ome.zarr")
    assert verify(tmp_path / "a.ome.zarr") == []
    assert same_bits(whole(tmp_path / "a.ome.zarr"), NEW)


def test_a_disk_that_forgets_is_found_out_before_publication(tmp_path, monkeypatch):
    original = os.write

    def forgetful(fd, data):
        damaged = bytearray(data)
        damaged[len(damaged) // 2] ^= 4
        return original(fd, damaged)

    monkeypatch.setattr(os, "write", forgetful)
    with pytest.raises(VoxarrayError) as caught:
        convert_array(NEW, tmp_path / "a.ome.zarr")
    assert isinstance(caught.value, ArchiveError | ChecksumError)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArchiveError, match="nothing was changed there") as caught:
        convert_array(OLD, tmp_path / "file" / "a.ome.zarr")
    assert caught.value.code == "IO_ERROR"
    with pytest.raises(ArchiveError):
        convert_array(OLD, tmp_path / f"{'long' * 70}.ome.zarr")


# --- Refused by us --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_what_exists_stays(tmp_path, form):
    path = tmp_path / form
    convert_array(OLD, path)
    with pytest.raises(ArchiveExistsError, match="--overwrite") as caught:
        convert_array(NEW, path)
    assert isinstance(caught.value, FileExistsError)
    assert caught.value.code == "EXISTS"
    assert same_bits(whole(path), OLD)


@pytest.mark.parametrize("form", FORMS)
def test_what_appears_meanwhile_stays(tmp_path, form):
    path = tmp_path / form
    with pytest.raises(ArchiveExistsError):
        convert(
            ArraySource(NEW, np.eye(4)),
            path,
            progress=lambda *_: None if path.exists() else convert_array(OLD, path),
        )
    assert same_bits(whole(path), OLD)
    assert leftovers(tmp_path) == []


def test_overwriting_takes_archives_only(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years")
    with pytest.raises(ArchiveExistsError, match="is not an archive") as caught:
        convert_array(NEW, home, overwrite=True)
    assert caught.value.code == "NOT_AN_ARCHIVE"
    assert (home / "thesis.txt").read_text() == "years"


def test_overwriting_changes_the_form(tmp_path):
    path = tmp_path / "a.zarr"
    convert_array(OLD, tmp_path / "a.ozx")
    (tmp_path / "a.ozx").rename(path)  # a file where a folder shall be
    convert_array(NEW, path, overwrite=True)
    assert path.is_dir()
    assert same_bits(whole(path), NEW)


def test_an_archive_may_be_made_of_itself(tmp_path):
    from voxarray.archive.source import open_archive

    path = tmp_path / "a.ome.zarr"
    convert_array(OLD, path)
    convert(open_archive(path), path, options=Options(chunk=8, overwrite=True))
    assert same_bits(whole(path), OLD)
    assert open_archive(path).array.layout.chunk == (1, 8, 8, 8)


def test_a_budget_that_is_too_small_reads_nothing(tmp_path):
    import dask.config

    source = Untouchable(NEW, np.eye(4))
    with (
        dask.config.set({"voxarray.memory-budget": "1 kiB"}),
        pytest.raises(MemoryBudgetError, match=r"raise the budget to \d+ MiB \(--memory\)"),
    ):
        convert(source, tmp_path / "a.ome.zarr")
    assert list(tmp_path.iterdir()) == []


class Untouchable(ArraySource):
    """An array that fails the test if it is read."""

    def read(self, selection: Selection) -> np.ndarray:
        raise AssertionError(f"{selection} was read")


def test_a_label_map_on_another_grid(tmp_path):
    layer = LabelLayer(ArraySource(OLD, np.diag([2.0, 1, 1, 1])))
    with pytest.raises(GridError, match="resample the label map") as caught:
        convert(ArraySource(NEW, np.eye(4)), tmp_path / "a.zarr", labels={"seg": layer})
    assert caught.value.code == "GRID_MISMATCH"


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "zarr.json", "a\\b", "a\0b"])
def test_names_that_label_maps_cannot_have(tmp_path, name):
    with pytest.raises(FormatError, match="cannot name a label map"):
        archive(tmp_path / "a.zarr", NEW, labels={name: OLD})
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_fails_in_the_middle_publishes_nothing(tmp_path):
    class Failing(ArraySource):
        def read(self, selection):
            if selection.ranges[3].start >= 8:
                raise ChecksumError("the middle is damaged", code="BAD_CRC", path="scan.nii.gz")
            return super().read(selection)

    with pytest.raises(ChecksumError, match="the middle is damaged") as caught:
        convert(Failing(NEW, np.eye(4)), tmp_path / "a.ome.zarr", options=Options(chunk=4))
    assert caught.value.path == "scan.nii.gz"
    assert list(tmp_path.iterdir()) == []


# --- Synced, and the same every time --------------------------------------------------------------


@pytest.mark.syncs
@pytest.mark.parametrize("form", FORMS)
def test_everything_is_synced_before_it_appears(tmp_path, monkeypatch, form):
    syncs_as_one(monkeypatch, False)
    synced, original, renamed = set(), os.fsync, staging._renameat2

    def recording(fd):
        synced.add(os.readlink(f"/proc/self/fd/{fd}"))
        original(fd)

    def checking(source, destination, flags):
        written = {source, *(str(p) for p in Path(source).rglob("*"))}
        assert written <= synced
        renamed(source, destination, flags)

    def naming(fd, path):
        assert os.readlink(f"/proc/self/fd/{fd}") in synced
        assert str(tmp_path) not in synced
        given(fd, path)

    given = unnamed_zip.give_name
    monkeypatch.setattr(os, "fsync", recording)
    monkeypatch.setattr(staging, "_renameat2", checking)
    monkeypatch.setattr(unnamed_zip, "give_name", naming)
    convert_array(NEW, tmp_path / form)
    assert str(tmp_path) in synced  # the name, after the rename


@pytest.mark.syncs
@pytest.mark.parametrize("form", FORMS)
def test_a_small_archive_is_synced_by_few_calls(tmp_path, monkeypatch, form):
    syncs_as_one(monkeypatch, True)
    done, state = [], {}
    original, of_file_system, renamed = os.fsync, portable.syncfs, staging._renameat2

    def snapshot(fd):
        folder = Path(os.readlink(f"/proc/self/fd/{fd}"))
        state.update({path: path.stat().st_mtime_ns for path in folder.rglob("*")})

    def recording(fd):
        done.append("fsync")
        state[Path(os.readlink(f"/proc/self/fd/{fd}"))] = os.fstat(fd).st_mtime_ns
        original(fd)

    def recording_all(fd):
        done.append("syncfs")
        assert os.fstat(fd).st_dev == tmp_path.stat().st_dev
        snapshot(fd)
        of_file_system(fd)

    def checking(source, destination, flags):
        written = [Path(source)] if form.endswith(".ozx") else list(Path(source).rglob("*"))
        assert len(written) == 1 or "manifest.json" in [path.name for path in written]
        for path in written:  # nothing was written after it was synced
            assert state[path] == path.stat().st_mtime_ns
        renamed(source, destination, flags)

    def naming(fd, path):
        assert state[Path(os.readlink(f"/proc/self/fd/{fd}"))] == os.fstat(fd).st_mtime_ns
        given(fd, path)

    given = unnamed_zip.give_name
    monkeypatch.setattr(os, "fsync", recording)
    monkeypatch.setattr(portable, "syncfs", recording_all)
    monkeypatch.setattr(staging, "_renameat2", checking)
    monkeypatch.setattr(unnamed_zip, "give_name", naming)
    convert_array(NEW, tmp_path / form)
    assert done == (["fsync", "fsync"] if form.endswith(".ozx") else ["syncfs", "fsync"])


def test_an_image_that_is_not_small_is_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(held_files, "LARGEST", NEW.nbytes - 1)
    kept = held_files.HeldFiles.add

    def adding(self, key, data):
        assert "/image/c/" not in key
        kept(self, key, data)

    monkeypatch.setattr(held_files.HeldFiles, "add", adding)
    called = []
    monkeypatch.setattr(portable, "syncfs", called.append)
    path = convert_array(NEW, tmp_path / "a.ome.zarr")
    assert same_bits(whole(tmp_path / "a.ome.zarr"), NEW)
    assert called == [], path  # others of the file system may have much to write


@pytest.mark.parametrize("form", FORMS)
def test_a_small_image_makes_no_folder_before_it_is_complete(tmp_path, form):
    seen = []

    def look(done, total):
        seen.append([path.name for path in tmp_path.glob(".*/*")])

    source = ArraySource(NEW, np.eye(4))
    convert(source, tmp_path / form, options=Options(chunk=4), progress=look)
    assert seen
    assert all(names == ([] if form.endswith(".ozx") else ["lock"]) for names in seen)
    assert same_bits(whole(tmp_path / form), NEW)


def tree(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path.parent)): file.read_bytes() for file in files}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_image_makes_the_same_bytes(tmp_path, monkeypatch, form):
    made = []
    for number, threads in enumerate((1, 4, 4)):
        monkeypatch.setattr(configuration, "threads", lambda threads=threads: threads)
        path = tmp_path / str(number) / form
        archive(path, NEW, labels={"seg": OLD}, chunk=4, lazily=number == 2)
        made.append(tree(path))
    assert made[0] == made[1]
    if form.endswith("zarr"):
        # Blocks of a lazy image come in another order: other places in a shard, other bytes there.
        assert made[0].keys() == made[2].keys()


def test_a_file_system_without_exchange(tmp_path, monkeypatch):
    monkeypatch.setattr(staging.ctypes, "CDLL", lambda *_, **__: object())
    path = tmp_path / "a.ome.zarr"
    convert_array(OLD, path)
    with pytest.raises(ArchiveExistsError):
        convert_array(NEW, path)
    convert_array(NEW, path, overwrite=True)
    assert same_bits(whole(path), NEW)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.ome.zarr"]
