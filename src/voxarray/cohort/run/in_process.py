"""Converting in this process: a few images at once, so that cores do not wait for one of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.item import Item
from voxarray.cohort.run import throttle
from voxarray.cohort.run.interrupts import Stopped
from voxarray.cohort.run.job import Begin, Job
from voxarray.cohort.run.opened_ahead import opened_ahead
from voxarray.cohort.run.resource_usage import measured_often
from voxarray.cohort.run.task import Result, convert_throttled
from voxarray.core.progress import Progress
from voxarray.storage.remote.address import is_url
from voxarray.storage.synced_names import names_synced_together


@dataclass(frozen=True, slots=True)
class InProcess:
    """Images overlap as far as their projected memory fits into the budget together."""

    def run(self, job: Job, begin: Begin) -> Iterator[Result]:
        with names_synced_together(CohortLayout(job.root).subjects), measured_often():
            yield from self._run(job, begin)

    def _run(self, job: Job, begin: Begin) -> Iterator[Result]:
        overlap = job.overlapping and len(job.items) > 1 and throttle.at_work() > 1
        results = _overlapping(job, begin) if overlap else _one_by_one(job, job.items, begin)
        busy: list[Item] = []
        for item, result in results:
            if result.status == "busy":
                busy.append(item)
            else:
                yield result
        for _, result in _one_by_one(job, busy, begin, ignore_active_worker=True):
            yield result


def _one_by_one(
    job: Job, items: Sequence[Item], begin: Begin, ignore_active_worker: bool = False
) -> Iterator[tuple[Item, Result]]:
    """Results of items that are converted in this thread, which a signal can interrupt."""
    tasks = (job.task(item, ignore_active_worker) for item in items)
    for task in opened_ahead(tasks):
        yield task.item, task.run(begin(task.item))


def _overlapping(job: Job, begin: Begin) -> Iterator[tuple[Item, Result]]:
    """Results of items that are converted in several threads, started in order."""
    stop = threading.Event()
    running: dict[Future[Result], Item] = {}
    waiting = deque(job.items)

    def convert(item: Item) -> Result:
        task = job.task(item, ignore_active_worker=False)
        return convert_throttled(task, lambda: _unless_stopped(stop, begin(item)))

    limit = throttle.at_work() + (throttle.ANSWERS if is_url(job.root) else 0)
    try:
        with ThreadPoolExecutor(limit, "voxarray-image") as threads:
            try:
                while waiting or running:
                    while waiting and len(running) < limit:
                        item = waiting.popleft()
                        running[threads.submit(convert, item)] = item
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield running.pop(future), future.result()
            finally:
                stop.set()
    finally:
        # Those that were nearly done when the run had to stop.
        job.late.extend(_results_of(running))


def _results_of(ended: Iterable[Future[Result]]) -> Iterator[Result]:
    """Results of images that nobody waits for any more, but for those that were stopped."""
    for future in ended:
        if future.done() and not future.cancelled() and future.exception() is None:
            result = future.result()
            if result.status != "busy":
                yield result


def _unless_stopped(stop: threading.Event, progress: Progress | None) -> Progress:
    """A progress function that raises `Stopped` between two blocks once ``stop`` is set."""

    def report(done: int, total: int) -> None:
        if stop.is_set():
            raise Stopped
        if progress is not None:
            progress(done, total)

    if stop.is_set():
        raise Stopped
    return report
