"""Several images at once in one process: as many as fit, each with its own warnings and peak."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import dask.config
import pytest
from cohort_samples import save, truth

from voxarray.cohort.catalogue import kept_manifests
from voxarray.cohort.catalogue.journal import Journal, records
from voxarray.cohort.plan.item import Failure
from voxarray.cohort.run import build as build_module
from voxarray.cohort.run import resource_usage, task
from voxarray.cohort.run.build import ExecutionOptions, build
from voxarray.cohort.run.captured_warnings import capture_warnings
from voxarray.cohort.run.resource_usage import measured_often, metered
from voxarray.core.errors import VoxarrayWarning


@pytest.fixture
def at_once(monkeypatch):
    """Most images that were about to be encoded at the same time."""
    lock, seen = threading.Lock(), {"now": 0, "most": 0}
    convert = task.convert_item

    def counted(*arguments, **options):
        with lock:
            seen["now"] += 1
            seen["most"] = max(seen["most"], seen["now"])
        time.sleep(0.02)
        with lock:
            seen["now"] -= 1
        return convert(*arguments, **options)

    monkeypatch.setattr(task, "convert_item", counted)
    return seen


def make(tmp_path, destination: str, threads: int, budget: str) -> None:
    with dask.config.set({"voxarray.threads": threads, "voxarray.memory-budget": budget}):
        made = build(tmp_path / "in", tmp_path / destination)
    assert (made.converted, made.failed) == (9, 0)


def test_as_many_at_once_as_fit_into_the_budget(tmp_path, at_once):
    for number in range(9):
        save(tmp_path / f"in/{number}.nii.gz", number)
    make(tmp_path, "few", 4, "80 MiB")  # what one needs, with the allocator, is above half of it
    assert at_once["most"] == 1
    make(tmp_path, "many", 4, "1 GiB")
    assert at_once["most"] == 3
    assert truth(tmp_path / "few") == truth(tmp_path / "many")


def hidden_folders_made(monkeypatch) -> list[str]:
    """Names of the hidden folders that this process makes from now on."""
    mkdir, names = os.mkdir, []

    def noted(path, *arguments, **options):
        if str(path).endswith(".staging.new") and "ome.zarr" in str(path):
            names.append(str(path))
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(os, "mkdir", noted)
    return names


@pytest.mark.parametrize("threads", [1, 4])
def test_images_are_built_in_one_folder_for_each_thread(tmp_path, monkeypatch, threads):
    for number in range(9):
        save(tmp_path / f"in/{number}.nii.gz", number)
    made = hidden_folders_made(monkeypatch)
    make(tmp_path, "out", threads, "1 GiB")
    assert 1 <= len(made) <= 3
    assert not (tmp_path / "out/staging").exists()


def test_a_worker_of_dask_builds_a_batch_in_one_folder(tmp_path, monkeypatch):
    from distributed import LocalCluster

    for number in range(9):
        save(tmp_path / f"in/{number}.nii.gz", number)
    made = hidden_folders_made(monkeypatch)
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        run = ExecutionOptions(scheduler=cluster.scheduler_address)
        done = build(tmp_path / "in", tmp_path / "out", run=run)
    assert (done.converted, done.failed) == (9, 0)
    assert 1 <= len(made) < 5
    assert not (tmp_path / "out/staging").exists()


def test_warnings_go_to_the_image_that_they_are_about():
    ready = threading.Barrier(2)
    heard: dict[str, list[str]] = {}

    def convert(name: str) -> None:
        with capture_warnings() as texts:
            ready.wait()
            warnings.warn(f"{name} is odd", VoxarrayWarning, stacklevel=1)
            ready.wait()
        heard[name] = texts

    threads = [threading.Thread(target=convert, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == {"a": ["a is odd"], "b": ["b is odd"]}
    with pytest.warns(VoxarrayWarning, match="again"):
        warnings.warn("again", VoxarrayWarning, stacklevel=1)


def test_warnings_of_others_are_shown():
    with pytest.warns(RuntimeWarning, match="by numpy"), capture_warnings() as texts:
        warnings.warn("by numpy", RuntimeWarning, stacklevel=1)
    assert texts == []


def test_a_peak_is_not_forgotten_when_another_measurement_begins():
    with metered() as outer:
        block = bytearray(64 << 20)
        del block
        with metered() as inner:
            pass
    assert outer.peak is not None
    assert outer.peak >= 60 << 20
    assert inner.peak is not None
    assert inner.peak < 30 << 20


def test_a_peak_is_that_of_the_process_not_of_its_parent():
    """``getrusage`` tells at least what the other process had that became this one."""
    code = "\n".join(
        [
            "from voxarray.cohort.run.resource_usage import measured_often, metered",
            "for size in (40, 64, 40, 400, 48):",
            "    with metered() as cost:",
            "        block = bytearray(size << 20)",
            "        del block",
            "    assert abs(cost.peak - (size << 20)) < 4 << 20, (size, cost.peak >> 20)",
        ]
    )
    ballast = bytearray(300 << 20)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    del ballast


def _kept_open():
    names = [os.path.join("/proc/self/fd", one) for one in os.listdir("/proc/self/fd")]
    return [os.path.basename(os.readlink(one)) for one in names if os.path.exists(one)]


def test_measuring_memory_often_opens_its_file_once_and_closes_it(monkeypatch):
    opened, original = [], os.open

    def noted(path, *more, **options):
        opened.append(str(path))
        return original(path, *more, **options)

    monkeypatch.setattr(os, "open", noted)
    with measured_often():
        for size in (40, 64, 40):
            with metered() as cost:
                block = bytearray(size << 20)
                del block
            assert cost.peak is not None
            assert cost.peak >= (size - 4) << 20
        assert [one for one in opened if "clear_refs" in one] == ["/proc/self/clear_refs"]
        assert {"clear_refs", "statm"} <= set(_kept_open())
    assert not {"clear_refs", "statm"} & set(_kept_open())
    with metered():
        pass
    assert not {"clear_refs", "statm"} & set(_kept_open())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_child_of_a_fork_measures_its_own_memory():
    with measured_often(), metered():
        child = os.fork()
        if child == 0:
            kept = {"clear_refs", "statm"} & set(_kept_open())
            with metered() as cost:
                block = bytearray(64 << 20)
                del block
            os._exit(0 if not kept and (cost.peak or 0) >= 60 << 20 else 1)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_child_of_a_fork_waits_for_no_lock_of_its_parent():
    with kept_manifests.keeping("s3://a/subjects"), kept_manifests._manifests.lock:
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            os._exit(len(kept_manifests.kept_in("s3://a/subjects")))
        assert os.waitpid(child, 0)[1] == 0


def test_only_failures_are_waited_for(tmp_path, monkeypatch):
    """Of an image that is there its archive tells; of one that failed, the journal alone."""
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    journal = Journal(str(tmp_path))
    journal.append({"slug": "a", "status": "converted", "failure": None})
    count = len(synced)
    journal.append({"slug": "b", "status": "converted", "failure": None})
    assert len(synced) == count
    failure = {"code": "X", "message": "it cannot be read", "file": "c.nii"}
    journal.append({"slug": "c", "status": "failed", "failure": failure})
    assert len(synced) == count + 1
    assert [one["slug"] for one in records(str(tmp_path))] == ["a", "b", "c"]
    journal.close()


def test_without_memory_to_look_a_peak_is_unknown(monkeypatch):
    def no_room(*_, **__):
        raise MemoryError

    monkeypatch.setattr("builtins.open", no_room)
    monkeypatch.setattr(os, "open", no_room)
    with metered() as cost:
        pass
    assert cost.peak is None


def test_no_cost_is_negative(monkeypatch):
    """The kernel adds up the pages of each thread late, so that a peak may seem lower."""
    monkeypatch.setattr(resource_usage, "_reset_peak", lambda: 1 << 50)
    with resource_usage.metered() as cost:
        pass
    assert cost.peak == 0


def test_an_image_that_ends_after_the_disk_was_full_counts(tmp_path, monkeypatch):
    for number in range(2):
        save(tmp_path / f"in/{number}.nii.gz", number)
    convert, made = task.convert_item, threading.Event()

    def at_the_same_time(one, *arguments, **options):
        if one.item.subject == "0":
            assert made.wait(60)
            failure = Failure("NO_SPACE", "the disk is full", "0.nii.gz")
            return task.Result(one.item.slug, "failed", one.item.key, failure)
        result = convert(one, *arguments, **options)
        made.set()
        time.sleep(0.5)  # the run stops meanwhile
        return result

    monkeypatch.setattr(task, "convert_item", at_the_same_time)
    with dask.config.set({"voxarray.threads": 4, "voxarray.memory-budget": "1 GiB"}):
        done = build(tmp_path / "in", tmp_path / "out")
    assert "NO_SPACE" in done.interrupted_by
    assert (done.converted, done.failed, done.remaining, done.summary.done) == (1, 1, 0, 1)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_an_image_that_is_made_counts_though_the_journal_takes_no_line(
    tmp_path, monkeypatch, number
):
    save(tmp_path / "in/0.nii.gz", 0)
    save(tmp_path / "in/1.nii.gz", 1)

    def full(self, record):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch, dask.config.set({"voxarray.threads": 1}):
        patch.setattr(Journal, "append", full)
        done = build(tmp_path / "in", tmp_path / "out")
    code = "NO_SPACE" if number == errno.ENOSPC else "IO_ERROR"
    assert code in done.interrupted_by
    assert (done.converted, done.failed, done.remaining, done.summary.done) == (1, 0, 1, 1)


class _DeafAfterOne:
    """An engine that converts all images, and stops to listen after it has told of a failure."""

    def run(self, job, _):
        for item in job.items[1:]:
            job.task(item).run()
        yield task.Result(
            job.items[0].slug,
            "failed",
            job.items[0].key,
            Failure("NO_SPACE", "the disk is full", job.items[0].origin.source),
        )


def test_what_workers_complete_after_a_run_has_stopped_counts(tmp_path, monkeypatch):
    for number in range(3):
        save(tmp_path / f"in/{number}.nii.gz", number)
    with monkeypatch.context() as patch:
        patch.setattr(build_module, "choose_engine", lambda *_: _DeafAfterOne())
        done = build(tmp_path / "in", tmp_path / "out")
    assert (done.converted, done.failed, done.remaining, done.summary.done) == (2, 1, 0, 2)
    done = build(tmp_path / "in", tmp_path / "out")
    assert (done.converted, done.present) == (1, 2)
