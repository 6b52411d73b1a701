"""Small images go to workers together, and each of them is converted, or fails, alone."""

from __future__ import annotations

import gzip
import os
import pickle
import signal
import threading
from dataclasses import fields, replace
from types import SimpleNamespace

import dask.config
import pandas as pd
import pytest
from cohort_samples import array, save, truth
from hypothesis import given
from hypothesis import strategies as st

from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.plan.fingerprint import InputFingerprint
from voxarray.cohort.plan.item import Failure, Header, Input, Item, Layer
from voxarray.cohort.plan.opened_inputs import FileOpener
from voxarray.cohort.run import dask as engine
from voxarray.cohort.run.batches import (
    BATCH_IMAGES,
    BATCH_SECONDS,
    LEAST_SECONDS,
    Batch,
    Pace,
    batches,
)
from voxarray.cohort.run.build import ExecutionOptions, build
from voxarray.cohort.run.job import Job
from voxarray.cohort.run.task import Result, Task

MIB = 1 << 20
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def images(sizes):
    return [SimpleNamespace(slug=str(n), size=size) for n, size in enumerate(sizes)]


@given(
    st.lists(st.sampled_from([0, 1, MIB, 9 * MIB, 32 * MIB, 99 * MIB]), max_size=300),
    st.integers(1, 20),
    st.sets(st.integers(0, 300), max_size=5),
    st.sampled_from([1e-9, 1e-8, 1e-7]),
)
def test_batches_are_all_images_in_their_order_and_none_is_too_much(sizes, slots, apart, per_byte):
    items, alone, pace = images(sizes), {str(number) for number in apart}, Pace(per_byte)
    found = list(batches(items, slots, pace, alone))
    assert [item for batch in found for item in batch] == items
    left = sum(map(pace.of, items))
    least = min(LEAST_SECONDS, left / slots)
    for batch in found:
        seconds = sum(map(pace.of, batch))
        if len(batch) > 1:
            most = max(left / (2 * slots), least)
            assert seconds <= min(BATCH_SECONDS, most) * (1 + 1e-6)
            assert all(item.size and item.slug not in alone for item in batch)
            assert len(batch) <= BATCH_IMAGES
        left -= seconds


def test_ten_thousand_small_images_are_few_tasks():
    found = list(batches(images([512 << 10] * 10_000), 4, Pace()))
    assert len(found) <= 130
    assert len(found[0]) == 85  # four seconds of them
    assert [len(batch) for batch in found[-5:]] == [21, 21, 21, 21, 6]


@pytest.mark.parametrize(("images_a_second", "first"), [(10, 40), (50, 200), (1000, 256)])
def test_batches_follow_the_time_that_images_take(images_a_second, first):
    items = images([512 << 10] * 5_000)
    results = [
        Result(item.slug, "converted", "", seconds=1 / images_a_second) for item in items[1:9]
    ]
    slow = Result("0", "converted", "", seconds=9.0)  # it took the imports
    failed = Result("9", "failed", "", seconds=30.0)
    pace = Pace()
    pace.learn(items[:10], [slow, *results, failed])
    found = list(batches(items, 2, pace))
    assert len(found[0]) == first
    assert abs(pace.of(items[0]) * images_a_second - 1) < 1e-6


def test_what_teaches_nothing_changes_no_pace():
    pace, items = Pace(), images([MIB, MIB])
    pace.learn(items[:1], [Result("0", "converted", "", seconds=3.0)])
    pace.learn(items, [Result("0", "converted", "", seconds=3.0), Result("1", "present", "")])
    assert pace == Pace()


def test_the_first_images_that_come_show_how_many_go_together(job, monkeypatch):
    """Four for each at first; what they took makes groups of the others, which nobody waits for."""
    job = replace(job, items=[replace(job.items[0], slug=f"{n:03}") for n in range(100)])

    def script(batch, _):
        return [Result(t.item.slug, "converted", t.item.key, seconds=0.1) for t in batch.tasks]

    client = Client(script)
    client.nthreads = lambda: {"a": 2}
    results = spread(job, client, monkeypatch)
    assert [result.slug for result in results] == [item.slug for item in job.items]
    assert [len(names) for names in client.sent] == [4, 4, 23, 17, 13, 10, 10, 10, 9]


def test_stacks_are_sampled_less_often_until_the_last_batch_ends(monkeypatch):
    import distributed

    from voxarray.cohort.run.dask_monitoring import slowed_monitoring

    def callbacks():
        kinds = {"profile": 10.0, "tick": 20.0, "heartbeat": 500.0, "memory_monitor": 100.0}
        kinds["monitor"] = 500.0
        return {name: Callback(every) for name, every in kinds.items()}

    class Callback:
        def __init__(self, every):
            self.callback_time = every

    worker = type("Worker", (), {"periodic_callbacks": callbacks()})()
    monkeypatch.setattr(distributed, "get_worker", lambda: worker)

    def every():
        return [one.callback_time for one in worker.periodic_callbacks.values()]

    with slowed_monitoring():
        with slowed_monitoring():
            assert every() == [500.0, 500.0, 500.0, 100.0, 2000.0]
        assert every() == [500.0, 500.0, 500.0, 100.0, 2000.0]
    assert every() == [10.0, 20.0, 500.0, 100.0, 500.0]
    del worker.periodic_callbacks["profile"]  # as where it is switched off
    with slowed_monitoring():
        assert every() == [500.0, 500.0, 100.0, 2000.0]
    assert every() == [20.0, 500.0, 100.0, 500.0]


class Counted:
    """Counts how often it is put together again."""

    restored = 0

    def __reduce__(self):
        return Counted.restore, ()

    @staticmethod
    def restore():
        Counted.restored += 1
        return Counted()


def test_a_scheduler_passes_batches_on_without_taking_them_apart(monkeypatch):
    monkeypatch.setattr(Counted, "restored", 0)
    sent = pickle.dumps(Batch((Counted(), Counted()), "topic"))
    passed_on = pickle.dumps(pickle.loads(sent))
    assert Counted.restored == 0
    received = pickle.loads(passed_on)
    assert len(received.tasks) == len(received.tasks) == Counted.restored == 2
    assert received.topic == "topic"


def test_each_image_of_a_batch_fails_alone(tmp_path, monkeypatch):
    """One is cut short, and one kills whoever opens it: the others of their batches are there."""
    for number in range(24):
        save(tmp_path / f"in/{number:02}.nii.gz", number)
    build(tmp_path / "in", tmp_path / "whole")
    cut = tmp_path / "in/01.nii.gz"
    noise = gzip.decompress(cut.read_bytes())[:352] + array(1).tobytes()[:-100]
    cut.write_bytes(gzip.compress(noise))
    original, submit, sent = engine.Distributed.run, engine._Tasks.submit, []

    def run(self, job, begin):
        def opener_of(item):
            if item.subject != "02":
                return job.opener_of(item)
            return SimpleNamespace(open=lambda _: os.kill(os.getpid(), signal.SIGKILL), places={})

        return original(self, replace(job, opener_of=opener_of), begin)

    def noted(self, batch, *more, **options):
        sent.append([item.subject for item in batch])
        submit(self, batch, *more, **options)

    monkeypatch.setattr(engine.Distributed, "run", run)
    monkeypatch.setattr(engine._Tasks, "submit", noted)
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):  # one death each is enough
        made = build(tmp_path / "in", tmp_path / "out", run=ExecutionOptions(workers=1))
    assert max(map(len, sent)) > 2
    assert any({"01", "02"} <= set(names) and len(names) > 2 for names in sent), sent
    assert (made.converted + made.present, made.failed, made.remaining) == (22, 2, 0)
    report = pd.read_parquet(tmp_path / "out/report.parquet")
    told = sorted(zip(report.subject, report.code, strict=True))
    assert told == [("01", "TRUNCATED"), ("02", "WORKER_LOST")]
    whole, found = truth(tmp_path / "whole"), truth(tmp_path / "out")
    same = {
        name for name in whole if name.startswith("subjects/") and name[9:11] not in ("01", "02")
    }
    assert same == {name for name in found if name.startswith("subjects/")}
    assert all(whole[name] == found[name] for name in same)


class Client:
    """A scheduler on which tasks end as a script says, by the names of their images."""

    status = "running"

    def __init__(self, script):
        self.script, self.sent = script, []

    def submit(self, _, __, ___, batch, **_where):
        names = tuple(task.item.slug for task in batch.tasks)
        self.sent.append(names)
        future = SimpleNamespace(key=f"{len(self.sent)}", status="finished", release=lambda: None)
        future.result = lambda: self.script(batch, names)
        return future

    def cancel(self, *_, **__):
        pass

    def subscribe_topic(self, *_):
        pass

    def unsubscribe_topic(self, *_):
        pass

    def nthreads(self):
        return {"a": 1}

    def scheduler_info(self, **_):
        return {"workers": {"a": {"status": "running"}}}

    def processing(self):
        return {}


@pytest.fixture
def job(tmp_path):
    from cohort_samples import make_cohort

    from voxarray.cohort.options import ArchiveOptions
    from voxarray.cohort.run.build import InputSelection, discover_inputs, make_plan

    make_cohort(tmp_path / "in", 8, 0)
    options = ArchiveOptions()
    found = discover_inputs(tmp_path / "in", tmp_path / "out", InputSelection(), options)
    plan = make_plan(found, tmp_path / "in", tmp_path / "out", options)
    return Job(plan.items, lambda _: None, str(tmp_path / "out"), options, False)


class Completed(list):
    """What has come, until nothing is left; stands for `distributed.as_completed`."""

    futures: tuple[()] = ()

    def add(self, future):
        self.append(future)

    def __iter__(self):
        while self:
            yield self.pop(0)


def spread(job, client, monkeypatch):
    import distributed

    monkeypatch.setattr(distributed, "as_completed", Completed)
    monkeypatch.setattr(threading.Thread, "start", lambda _: None)
    return list(engine._spread(client, job, job.items, 1, {}, lambda _: None, own=True))


def done(batch, _):
    return [Result(t.item.slug, "converted", t.item.key) for t in batch.tasks]


def test_a_batch_that_cannot_be_sent_back_is_tried_one_by_one(job, monkeypatch):
    bad = job.items[1].slug

    def script(batch, names):
        if bad in names:
            raise TypeError("cannot be pickled")
        return done(batch, names)

    client = Client(script)
    results = spread(job, client, monkeypatch)
    assert {r.slug for r in results if r.status == "failed"} == {bad}
    assert sorted(r.slug for r in results) == sorted(item.slug for item in job.items)
    assert len(client.sent[0]) == 8


def test_an_image_that_is_busy_is_asked_for_again_alone(job, monkeypatch):
    busy = job.items[2].slug

    def script(batch, names):
        results = done(batch, names)
        if len(names) > 1 and busy in names:
            results[names.index(busy)] = Result(busy, "busy", "")
        return results

    client = Client(script)
    results = spread(job, client, monkeypatch)
    assert [r.status for r in results] == ["converted"] * 8
    assert client.sent[-1] == (busy,)


def test_images_of_a_worker_that_is_stuck_go_elsewhere_one_by_one(job, monkeypatch):
    bad = job.items[0].slug
    original = engine._Tasks.done

    def taken_back(tasks, future):
        batch = original(tasks, future)
        if bad in [item.slug for item in batch]:
            tasks.given_up[future.key] = "it is stuck"
            future.status = "cancelled"
        return batch

    monkeypatch.setattr(engine._Tasks, "done", taken_back)
    client = Client(done)
    with pytest.warns(match="it is stuck"):
        results = spread(job, client, monkeypatch)
    assert {r.slug: r.failure.code for r in results if r.failure} == {bad: "WORKER_STUCK"}
    assert len(results) == 8
    assert client.sent.count((bad,)) == 2


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_earlier_archive_is_no_success_of_a_run_that_makes_all_anew(
    tmp_path, monkeypatch, overwrite
):
    from types import SimpleNamespace

    from voxarray.cohort.run import dask as engine
    from voxarray.cohort.run import job as jobs

    monkeypatch.setattr(jobs, "is_made", lambda *_: True)
    monkeypatch.setattr(jobs, "noted_down", lambda result, _: result)
    origin = SimpleNamespace(source="a.nii")
    item = SimpleNamespace(slug="a", key="k", size=10, origin=origin)
    options = SimpleNamespace(zipped=False)
    job = jobs.Job([item], lambda _: None, str(tmp_path), options, overwrite)
    result = engine._failed(item, engine._stuck([item], "it stands still"), job)
    assert result.status == ("failed" if overwrite else "converted")


def test_tasks_and_results_arrive_as_they_were_sent():
    origin = Input("a.nii", InputFingerprint(1, 2, "d"), "header", "series")
    item = Item(
        slug="s",
        subject="p",
        image="t1",
        kind="label",
        origin=origin,
        layers=(Layer("seg", origin),),
        header=Header((1, 2, 3, 4), (1.0, 0.5, 2.0), "RAS", "int16", 48, 9, 7),
        facts={"modality": "MR", "age": None},
        key="k",
        unstamped="u",
        failure=Failure("A", "b", "c", True),
    )
    task = Task(
        item=item,
        opener=FileOpener({"a.nii": "/x/a.nii"}),
        root="/out",
        options=ArchiveOptions(levels=2, chunk=32, codec="fast", keep_metadata=("age",)),
        overwrite=True,
        ignore_active_worker=False,
        parts=(Failure("P", "q", "r"),),
    )
    result = Result("s", "failed", "k", item.failure, 1.5, 3, 4, ("remark",))
    for record in (task, result):
        arrived = pickle.loads(pickle.dumps(record))
        assert arrived == record
        for field in fields(record):
            assert getattr(arrived, field.name) == getattr(record, field.name)
