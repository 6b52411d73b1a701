"""Workers that stand still: told from those that work, named, and gone on without."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from typing import ClassVar

import dask.config
import pytest
from clusters import Cluster
from cohort_samples import make_cohort, truth

import voxarray as vx
from voxarray.cohort.catalogue.journal import records
from voxarray.cohort.run.build import ExecutionOptions, build
from voxarray.cohort.run.worker_watch import WorkerWatch

A, B = "tcp://a:1", "tcp://b:1"


class Told:
    """What a scheduler says, second by second."""

    OURS: ClassVar[set[str]] = {"k1", "k2", "k3"}

    def __init__(self, patience=10):
        self.given_up = []
        self.watch = WorkerWatch(
            None, lambda: self.OURS, lambda *told: self.given_up.append(told), patience
        )

    def say(self, now, keys, cpu=0.0, status="running", heard=None, other="running"):
        metrics = {"cpu": cpu, "time": now if heard is None else heard, "memory": 690 << 20}
        a = {"status": status, "metrics": metrics, "memory_limit": 700 << 20}
        a["last_seen"] = time.time() - (0 if heard is None else now - heard)
        workers = {A: a, **({B: {"status": other, "metrics": metrics}} if other else {})}
        self.watch.look(float(now), workers, {A: keys, B: ()})


def test_whoever_finishes_tasks_gets_on():
    told = Told()
    for now in range(0, 100, 4):
        told.say(now, [f"k{1 + now // 8 % 3}"])
    assert not told.given_up


def test_whoever_computes_gets_on():
    told = Told()
    for now in range(0, 100, 4):
        told.say(now, ["k1"], cpu=60.0 if now % 8 else 0.0)
    assert not told.given_up


def test_whoever_tells_of_progress_gets_on():
    """A batch of images that a slow disk gives, one after the other, in one task."""
    told = Told()
    for now in range(0, 100, 4):
        if now % 8:
            told.watch.progressed(A)
        told.say(now, ["k1"])
    assert not told.given_up


def test_whoever_has_nothing_of_ours_is_let_alone():
    told = Told()
    for now in range(0, 100, 4):
        told.say(now, ["somebody else's"])
        told.say(now, [])
    assert not told.given_up


@pytest.mark.parametrize(
    ("says", "text"),
    [
        ({"status": "paused"}, r"paused it for 12 s, and 690\.0 MiB of its 700\.0 MiB of memory"),
        ({}, "used no processor time for 12 s"),
        ({"heard": 0.0, "cpu": 99.0}, "it sent no message for"),
    ],
    ids=["paused", "idle", "silent"],
)
def test_whoever_stands_still_is_named_with_the_reason(says, text):
    told = Told()
    for now in range(0, 13, 4):
        told.say(now, ["k1", "k2"], **says)
    ((keys, why),) = told.given_up
    assert keys == {"k1", "k2"}
    assert A in why
    assert re.search(text, why), why
    assert told.watch.stuck == {A: why}


def test_a_worker_that_wakes_is_used_again():
    told = Told()
    for now in range(0, 13, 4):
        told.say(now, ["k1"], status="paused")
    told.say(16, [])
    assert not told.watch.stuck


def test_nobody_left_ends_the_wait():
    told = Told()
    for now in range(0, 25, 4):
        told.say(now, [], status="paused", other=None)
    assert [keys for keys, _ in told.given_up] == [Told.OURS] * len(told.given_up)
    assert "no worker is left that makes progress" in told.given_up[0][1]


@pytest.mark.parametrize("own", [True, False])
def test_workers_that_died_are_waited_for_where_others_may_come(own):
    told = Told()
    told.watch.own = own
    for now in range(0, 25, 4):
        told.watch.look(float(now), {}, {})
    assert bool(told.given_up) is own


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="stops a process by a signal")
def test_a_run_names_a_stopped_worker_and_continues_without_it(tmp_path):
    make_cohort(tmp_path / "in", 12, 0)
    build(tmp_path / "in", tmp_path / "whole")
    cluster = Cluster(tmp_path / "scheduler.json", workers=2)
    try:
        stopped = cluster.wait(2)[0]
        os.kill(stopped, signal.SIGSTOP)
        with (
            dask.config.set({"voxarray.worker-patience": 4}),
            pytest.warns(vx.VoxarrayWarning, match="makes no progress"),
        ):
            made = build(
                tmp_path / "in", tmp_path / "out", run=ExecutionOptions(scheduler=cluster.address)
            )
        assert (made.converted, made.failed) == (12, 0)
        assert truth(tmp_path / "out") == truth(tmp_path / "whole")
    finally:
        cluster.stop()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="stops a process by a signal")
def test_a_scheduler_whose_only_worker_is_stopped_ends(tmp_path):
    make_cohort(tmp_path / "in", 3, 0)
    cluster = Cluster(tmp_path / "scheduler.json", workers=1)
    try:
        os.kill(cluster.wait(1)[0], signal.SIGSTOP)
        with dask.config.set({"voxarray.worker-patience": 3}):
            made = build(
                tmp_path / "in", tmp_path / "out", run=ExecutionOptions(scheduler=cluster.address)
            )
        assert (made.converted, made.failed) == (0, 3)
        told = list(records(str(tmp_path / "out/journal")))
        assert {record["failure"]["code"] for record in told} == {"WORKER_STUCK"}
    finally:
        cluster.stop()
