"""Converting in this process: a few images at once, so that cores do not wait for one of them.

One image alone leaves cores idle: a stream is decoded by one thread, and at the end the disk is
waited for. While one image does that, another is encoded.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from voxarray import memory, settings
from voxarray.cohort.item import Item
from voxarray.cohort.job import Begin, Job
from voxarray.cohort.stopping import Stopped
from voxarray.cohort.task import Progress, Result, convert_item


@dataclass(frozen=True, slots=True)
class InProcess:
    """Images overlap as far as their projected memory fits into the budget together."""

    def run(self, job: Job, begin: Begin) -> Iterator[Result]:
        most = 1 + settings.threads() // 2 if job.overlapping else 1
        overlap = most > 1 and len(job.items) > 1
        results = _overlapping(job, begin, most) if overlap else _one_by_one(job, job.items, begin)
        busy: list[Item] = []
        for item, result in results:
            if result.status == "busy":
                busy.append(item)
            else:
                yield result
        for _, result in _one_by_one(job, busy, begin, insist=True):
            yield result


def _one_by_one(
    job: Job, items: Sequence[Item], begin: Begin, insist: bool = False
) -> Iterator[tuple[Item, Result]]:
    """In this very thread, which an exception of a signal interrupts."""
    for item in items:
        yield item, _converted(job, item, begin(item), insist)


def _overlapping(job: Job, begin: Begin, most: int) -> Iterator[tuple[Item, Result]]:
    """Up to ``most`` at once, begun in order."""
    stop = threading.Event()
    flying: dict[Future[Result], Item] = {}
    waiting = deque(job.items)
    budget = memory.budget()
    with ThreadPoolExecutor(most, "voxarray-image") as threads:
        try:
            while waiting or flying:
                while waiting and len(flying) < most and _fits(waiting[0], flying.values(), budget):
                    item = waiting.popleft()
                    progress = _unless_stopped(stop, begin(item))
                    flying[threads.submit(_converted, job, item, progress, False)] = item
                done, _ = wait(flying, return_when=FIRST_COMPLETED)
                for future in done:
                    yield flying.pop(future), future.result()
        finally:
            stop.set()


def _fits(item: Item, others: Collection[Item], budget: int) -> bool:
    """Whether an image may be converted beside others; alone it always may try."""
    peaks = [one.header.peak if one.header else budget for one in (item, *others)]
    return not others or sum(peaks) <= budget


def _unless_stopped(stop: threading.Event, progress: Progress | None) -> Progress:
    """Drops an image between two of its blocks once nobody waits for it any more."""

    def report(done: int, total: int) -> None:
        if stop.is_set():
            raise Stopped
        if progress is not None:
            progress(done, total)

    return report


def _converted(job: Job, item: Item, progress: Progress | None, insist: bool) -> Result:
    return convert_item(
        item,
        job.opener_of(item),
        job.root,
        job.options,
        {},
        again=job.again,
        insist=insist,
        progress=progress,
    )
