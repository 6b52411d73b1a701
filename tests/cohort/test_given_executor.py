"""Conversions on executors of others: what they may use, and what becomes of those that die."""

from __future__ import annotations

import os
import signal
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import dask
import pytest
from cohort_samples import save, truth

from voxarray.cohort.run import futures, task
from voxarray.cohort.run import given_executor as engine
from voxarray.cohort.run.build import ExecutionOptions, build
from voxarray.core import memory, settings
from voxarray.core.errors import FormatError, StateError


class Here(Executor):
    """Runs what it is given at once, and says what was set while it did."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def submit(self, function, /, ours, *args):
        future = Future()
        with settings.of_task(ours):
            self.told.append((memory.budget(), settings.threads()))
        future.set_result(function(ours, *args))
        return future


class HereAsIfProcesses(Here):
    """With the attributes of executors that have processes on this machine."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._max_workers, self._processes = count, {}


@pytest.fixture
def scans(tmp_path):
    for number in range(3):
        save(tmp_path / f"in/{number}.nii.gz", number)
    build(tmp_path / "in", tmp_path / "whole")
    return tmp_path / "in"


def made_of(cohort):
    """All but the plan, whose projections depend on what was set when it was made."""
    return {name: one for name, one in truth(cohort).items() if name != "plan.json"}


def test_processes_of_one_machine_share_its_memory_and_cores(scans, tmp_path):
    executor = HereAsIfProcesses(4)
    with dask.config.set({"voxarray.memory-budget": "1 GiB", "voxarray.threads": 8}):
        build(scans, tmp_path / "out", run=ExecutionOptions(executor=executor))
    assert executor.told == [(2**28, 2)] * 3
    assert made_of(tmp_path / "out") == made_of(tmp_path / "whole")


def test_jobs_elsewhere_have_limits_of_their_own(scans, tmp_path):
    executor = Here()
    with dask.config.set({"voxarray.memory-budget": "1 GiB", "voxarray.threads": 8}):
        build(scans, tmp_path / "out", run=ExecutionOptions(executor=executor))
    assert executor.told == [(2**30, 8)] * 3


def test_what_exceeds_the_share_is_done_by_this_process_at_the_end(scans, tmp_path):
    save(tmp_path / "in/large.nii", 5, (64, 64, 64))
    build(scans, tmp_path / "whole")
    plan = build(scans, tmp_path / "out", run=ExecutionOptions(executor=(one := Here())))
    assert plan.converted == len(one.told) == 4
    executor = HereAsIfProcesses(64)
    with dask.config.set({"voxarray.memory-budget": "512 MiB"}):
        made = build(scans, tmp_path / "other", run=ExecutionOptions(executor=executor))
    assert made.converted == 4
    assert len(executor.told) < 4
    assert made_of(tmp_path / "other") == made_of(tmp_path / "whole")


def test_threads_are_no_processes(scans, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        engine, "convert_elsewhere", lambda ours, task: seen.append(ours) or _converted(task)
    )
    with ThreadPoolExecutor(2) as executor:
        build(scans, tmp_path / "out", run=ExecutionOptions(executor=executor))
    assert seen == [settings.configured()] * 3


def _converted(task):
    from voxarray.cohort.run.task import convert_item

    return convert_item(task)


class Asked:
    """A job of submitit: no future of Python's, done when it has been asked twice."""

    def __init__(self, function, args) -> None:
        self._call, self._asked, self.cancelled = (function, args), 0, False

    def done(self):
        self._asked += 1
        return self._asked > 1

    def exception(self):
        return None

    def result(self):
        function, args = self._call
        return function(*args)

    def cancel(self):
        self.cancelled = True


class UncompletedJobError(RuntimeError):
    """As submitit calls it."""


class Lost(Asked):
    def exception(self):
        return UncompletedJobError("no result")


class Jobs:
    def __init__(self, kinds) -> None:
        self._kinds, self.jobs = iter(kinds), []

    def submit(self, function, *args):
        self.jobs.append(next(self._kinds)(function, args))
        return self.jobs[-1]


def test_executors_whose_jobs_have_no_callbacks_are_polled(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(futures, "_ASKED_EVERY", 0.001)
    jobs = Jobs([Asked, Lost, Asked])
    made = build(scans, tmp_path / "out", run=ExecutionOptions(executor=jobs))
    assert (made.converted, made.failed) == (2, 1)
    assert made.failures[0].code == "WORKER_LOST"
    assert not any(job.cancelled for job in jobs.jobs)
    assert build(scans, tmp_path / "out").converted == 1
    assert truth(tmp_path / "out") == truth(tmp_path / "whole")


class Cancelling(Executor):
    """Gives futures that somebody cancels."""

    def submit(self, *_, **__):
        future = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future


def test_what_is_cancelled_is_named(scans, tmp_path):
    made = build(scans, tmp_path / "out", run=ExecutionOptions(executor=Cancelling()))
    assert made.failed == 3
    assert {one.code for one in made.failures} == {"WORKER_LOST"}
    assert build(scans, tmp_path / "out").converted == 3


def test_an_executor_that_takes_no_more_is_named_and_a_new_one_resumes(scans, tmp_path):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        os.kill(pool.submit(os.getpid).result(), signal.SIGKILL)
        made = build(scans, tmp_path / "out", run=ExecutionOptions(executor=pool))
    assert made.failed + made.converted + made.remaining == 3
    assert made.failed or "EXECUTOR_LOST" in made.interrupted_by
    done = ThreadPoolExecutor(1)
    done.shutdown()
    made = build(scans, tmp_path / "out", run=ExecutionOptions(executor=done))
    assert "EXECUTOR_LOST" in made.interrupted_by
    assert made.remaining == 3
    build(scans, tmp_path / "out")
    assert truth(tmp_path / "out") == truth(tmp_path / "whole")


class Answering(Executor):
    """Answers what it is told to, whatever it is given."""

    def __init__(self, answer) -> None:
        self._answer = answer

    def submit(self, *_, **__):
        return self._answer()


def _of(value):
    future = Future()
    future.set_result(value)
    return future


def test_who_gives_back_no_result_has_lost_it(scans, tmp_path):
    executor = Answering(lambda: _of(None))
    made = build(scans, tmp_path / "out", run=ExecutionOptions(executor=executor))
    assert {one.code for one in made.failures} == {"WORKER_LOST"}
    assert made.failed == 3
    assert build(scans, tmp_path / "out").converted == 3


def _no_route():
    raise OSError("no route to host")


@pytest.mark.parametrize(
    ("answer", "told"),
    [(lambda: None, "a NoneType, not a future"), (_no_route, "no route to host")],
    ids=["no future", "no route"],
)
def test_an_executor_that_is_none_is_named(scans, tmp_path, answer, told):
    made = build(scans, tmp_path / "out", run=ExecutionOptions(executor=Answering(answer)))
    assert "EXECUTOR_LOST" in made.interrupted_by
    assert told in made.interrupted_by
    assert made.remaining == 3


class Backwards(Executor):
    """Does all when it has the last, which is the first."""

    def __init__(self, count) -> None:
        self._count, self._given = count, []

    def submit(self, function, /, *args):
        self._given.append((Future(), function, args))
        if len(self._given) == self._count:
            for future, work, given in reversed(self._given):
                future.set_result(work(*given))
        return self._given[-1][0]


def test_results_may_come_in_any_order(scans, tmp_path):
    build(scans, tmp_path / "out", run=ExecutionOptions(executor=Backwards(3)))
    assert made_of(tmp_path / "out") == made_of(tmp_path / "whole")


def test_what_is_no_executor_is_refused_at_once(tmp_path):
    with pytest.raises(StateError, match="executor= is a list, which has no submit") as caught:
        build(tmp_path / "nothing", tmp_path / "out", run=ExecutionOptions(executor=[]))
    assert caught.value.code == "NO_EXECUTOR"


@pytest.mark.parametrize("part", [(0, 3), (4, 3), (1.5, 3), ("1", 3), (1,), (1, 2, 3), "12", 3])
def test_what_is_no_part_of_a_plan_is_refused(part):
    with pytest.raises(FormatError) as caught:
        ExecutionOptions(partition=part)
    assert caught.value.code == "BAD_PARTITION"


@pytest.mark.parametrize("workers", [-1, 1.5, "2", True])
def test_what_is_no_number_of_workers_is_refused(workers):
    with pytest.raises(FormatError) as caught:
        ExecutionOptions(workers=workers)
    assert caught.value.code == "BAD_WORKERS"


def test_a_process_without_room_for_a_thread_is_named(scans, tmp_path, monkeypatch):
    def no_thread(*_, **__):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(task, "convert", no_thread)
    made = build(scans, tmp_path / "out", run=ExecutionOptions(executor=Here()))
    assert {one.code for one in made.failures} == {"NO_THREADS"}
    assert not any(one.permanent for one in made.failures)
