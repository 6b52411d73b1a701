"""Workers tell how far they are with an image, and whoever waits shows it."""

from __future__ import annotations

from types import SimpleNamespace

import distributed
import pytest

from voxarray.cohort.run import worker_news
from voxarray.cohort.run.worker_news import Reporter, WorkerNews


@pytest.fixture
def told(monkeypatch):
    """What a worker logs, and the clock by which it does."""
    events, clock = [], SimpleNamespace(now=0.0)
    worker = SimpleNamespace(address="tcp://a:1")
    worker.log_event = lambda topic, event: events.append((topic, event))
    monkeypatch.setattr(distributed, "get_worker", lambda: worker)
    monkeypatch.setattr(worker_news.time, "monotonic", lambda: clock.now)
    return events, clock


def test_a_worker_tells_now_and_then_whichever_image_it_is_at(told):
    events, clock = told
    reporter = Reporter("topic")
    for number in range(100):  # three seconds, two blocks an image
        report = reporter.of(str(number))
        for done in (1, 2):
            clock.now += 0.016
            report(done, 2)
    assert len(events) == 3
    assert all(event[0] == "tcp://a:1" and topic == "topic" for topic, event in events)


def test_small_batches_tell_nothing(told):
    events, _ = told
    Reporter("topic").of("a")(1, 1)
    assert not events


def test_progress_of_an_image_is_shown_until_it_is_done():
    shown, heard = [], []

    def begin(item):
        shown.append(item.slug)
        return lambda done, total: shown.append((item.slug, done, total))

    news = WorkerNews(begin, heard.append)
    a, b = (SimpleNamespace(slug=name) for name in "ab")
    news.expect([a, b])
    for slug, done in (("a", 1), ("a", 2), ("b", 1)):
        news((0.0, ("w", slug, done, 9)))
    news.forget([a])
    news((0.0, ("w", "a", 3, 9)))
    assert shown == ["a", ("a", 1, 9), ("a", 2, 9), "b", ("b", 1, 9)]
    assert heard == ["w"] * 4


def test_a_scheduler_passes_it_on(tmp_path, monkeypatch):
    from cohort_samples import save

    import voxarray as vx
    from voxarray.cohort.run.build import ExecutionOptions, build
    from voxarray.cohort.run.progress import ProgressListener

    monkeypatch.setattr(worker_news, "EVERY", 0.0)
    for number in range(3):
        save(tmp_path / f"in/{number}.nii.gz", number)
    begun = []

    class Listener(ProgressListener):
        def begin(self, item):
            begun.append(item.subject)

    here = {"processes": False, "n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.Client(**here):
        made = build(tmp_path / "in", tmp_path / "out", run=ExecutionOptions(), watcher=Listener())
    assert made.converted == 3
    assert begun
    assert set(begun) <= {"0", "1", "2"}
    assert vx.verify(tmp_path / "out") == []
