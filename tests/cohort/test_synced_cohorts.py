"""What a power loss may take: no archive that somebody was told of, though few waits for the disk.

The order of calls is recorded: names that were made, and what was synced since.
"""

from __future__ import annotations

import errno
import os
import signal
from contextlib import nullcontext
from types import SimpleNamespace

import dask.config
import pytest
from cohort_samples import save

import voxarray as vx
from voxarray.archive import held_files, staging
from voxarray.cohort.options import ArchiveOptions, InputSelection
from voxarray.cohort.run import batches as workers
from voxarray.cohort.run import build as module
from voxarray.cohort.run import task
from voxarray.cohort.run.batches import Batch, convert_batch
from voxarray.cohort.run.build import ExecutionOptions, build
from voxarray.cohort.run.interrupts import Stopped
from voxarray.cohort.run.job import Job
from voxarray.cohort.run.progress import ProgressListener
from voxarray.cohort.run.result_counts import Tally
from voxarray.core import portable
from voxarray.storage import synced_names

pytestmark = pytest.mark.syncs
IMAGES = 7


class Disk:
    """Records the names of archives that may still be lost, and who was waited for.

    Attributes:
        unsynced: Names that were made in ``subjects`` and are not on disk for sure.
        folders: How often ``subjects`` was synced.
        most: Of names that could have been lost at once.
        refuses: Whether it refuses to sync ``subjects``.
    """

    def __init__(self, monkeypatch):
        self.unsynced, self.folders, self.most, self.refuses = set(), 0, 0, False
        self._rename = staging._renameat2
        monkeypatch.setattr(held_files, "is_synced_as_one", lambda _: True)
        monkeypatch.setattr(staging, "_renameat2", self.renamed)
        monkeypatch.setattr(os, "fsync", self.synced)
        monkeypatch.setattr(portable, "syncfs", self.synced_all)

    def renamed(self, source, destination, flags):
        self._rename(source, destination, flags)
        self.unsynced.add(os.path.basename(destination))
        self.most = max(self.most, len(self.unsynced))

    def synced(self, fd):
        if os.readlink(f"/proc/self/fd/{fd}").endswith("/subjects"):
            self.folders += 1
            if self.refuses:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self.unsynced.clear()

    def synced_all(self, _):
        self.unsynced.clear()


@pytest.fixture
def scans(tmp_path):
    for number in range(IMAGES):
        save(tmp_path / f"in/{number}.nii.gz", number)
    return tmp_path / "in"


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


@pytest.fixture
def batch(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "Reporter", lambda _: SimpleNamespace(of=lambda _: None))
    monkeypatch.setattr(workers, "slowed_monitoring", nullcontext)
    options = ArchiveOptions()
    found = module.discover_inputs(scans, tmp_path / "out", InputSelection(), options)
    plan = module.make_plan(found, scans, tmp_path / "out", options)
    opener_of = module._file_openers({one.source: one.location for one in found})
    job = Job(plan.items, opener_of, str(tmp_path / "out"), options, False)
    (tmp_path / "out/subjects").mkdir()
    return Batch([job.task(item) for item in job.items], "topic")


@pytest.mark.parametrize("threads", [1, 4])
def test_a_run_waits_once_for_the_names_of_small_images(
    scans, tmp_path, monkeypatch, disk, threads
):
    conclude = module.conclude

    def concluding(*given):
        assert disk.unsynced == set()
        assert disk.folders == 1
        return conclude(*given)

    monkeypatch.setattr(module, "conclude", concluding)
    with dask.config.set({"voxarray.threads": threads}):
        made = build(scans, tmp_path / "out")
    assert (made.converted, made.failed) == (IMAGES, 0)
    assert 1 <= disk.most <= (1 if threads == 1 else 5)


def test_a_batch_tells_of_no_name_that_may_be_lost(batch, disk):
    results = convert_batch(batch)
    assert [one.status for one in results] == ["converted"] * IMAGES
    assert (disk.unsynced, disk.folders, disk.most) == (set(), 1, 1)
    # What another process made a moment ago is told of, too.
    disk.folders = 0
    assert [one.status for one in convert_batch(batch)] == ["present"] * IMAGES
    assert disk.folders == 1


def test_an_archive_that_another_process_made_first_is_synced_before_it_is_reported(
    batch, disk, monkeypatch
):
    convert = task.convert

    def late(source, archive, **kwargs):
        ours = dict(synced_names._folders)
        synced_names._folders.clear()  # as in another process
        convert(source, archive, **kwargs)
        synced_names._folders.update(ours)
        disk.folders = 0
        convert(source, archive, **kwargs)

    monkeypatch.setattr(task, "convert", late)
    (one,) = convert_batch(Batch(batch.tasks[:1], batch.topic))
    assert one.status == "present"
    assert disk.folders == 1


def test_a_batch_whose_names_the_disk_refuses_failed(batch, disk):
    disk.refuses = True
    results = convert_batch(batch)
    assert [one.status for one in results] == ["failed"] * IMAGES
    assert {one.failure.code for one in results} == {"NOT_SYNCED"}
    assert not any(one.failure.permanent or one.voxel_bytes for one in results)


def test_a_run_whose_names_the_disk_refuses_says_so(scans, tmp_path, disk):
    disk.refuses = True
    with dask.config.set({"voxarray.threads": 1}):
        made = build(scans, tmp_path / "out")
    assert "cannot be synced" in made.interrupted_by
    assert made.converted == IMAGES


def test_so_does_a_run_that_stops_early(scans, tmp_path, disk):
    disk.refuses = True
    (scans / "3.nii.gz").write_bytes(b"")
    with dask.config.set({"voxarray.threads": 1}):
        made = build(scans, tmp_path / "out", run=ExecutionOptions(max_failures=1, retry=True))
    assert "--max-failures" in made.interrupted_by
    assert "cannot be synced" in made.interrupted_by
    assert made.summary is not None


def test_what_replaces_an_archive_is_synced_before_that_is_deleted(
    scans, tmp_path, monkeypatch, disk
):
    build(scans, tmp_path / "out")
    disk.folders, deleted, delete = 0, [], staging._delete

    def deleting(path):
        if os.path.isdir(path):
            assert disk.unsynced == set()
            deleted.append(path)
        delete(path)

    monkeypatch.setattr(staging, "_delete", deleting)
    run = ExecutionOptions(overwrite=True)
    with dask.config.set({"voxarray.threads": 1}):
        build(scans, tmp_path / "out", run=run)
    assert len(deleted) == disk.folders == IMAGES


def test_larger_images_are_synced_one_by_one(scans, tmp_path, monkeypatch, disk):
    monkeypatch.setattr(held_files, "LARGEST", 0)
    build(scans, tmp_path / "out")
    assert (disk.unsynced, disk.folders) == (set(), IMAGES)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_disk_that_refuses_hides_no_interrupt(
    scans, tmp_path, monkeypatch, disk, threads, number
):
    """Names are synced while the interrupt unwinds, and that error replaces it."""
    sent = []

    def report(done, _):
        if done and not sent:
            sent.append(number)
            disk.refuses = True
            os.kill(os.getpid(), number)

    expected = KeyboardInterrupt if number == signal.SIGINT else SystemExit
    with dask.config.set({"voxarray.threads": threads}), pytest.raises(expected) as caught:
        vx.convert_cohort(scans, tmp_path / "out", progress=report)
    assert "the run was asked to end" in str(caught.value)
    assert "cannot be synced" in str(caught.value)
    assert (tmp_path / "out/report.txt").exists()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Stopped])
def test_an_interrupt_between_two_results_is_not_lost(tmp_path, disk, kind):
    (tmp_path / "subjects").mkdir()
    folder, disk.refuses, tally = str(tmp_path / "subjects"), True, Tally()

    def results():
        with synced_names.names_synced_together(folder):
            synced_names.sync_later(folder)
            raise kind
            yield

    reason = module._counted(results(), ExecutionOptions(), ProgressListener(), tally)
    assert (tally.interrupt, tally.unable) == (kind, None)
    assert reason.startswith("the process was asked to end; ")
    assert "cannot be synced" in reason
