"""Converting on an executor that the user passes: submitit, MPI, a dask client, processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from typing import Any

from voxarray.cohort.plan.item import Item
from voxarray.cohort.run.futures import cancel, completed, outcome, submitted
from voxarray.cohort.run.in_process import InProcess
from voxarray.cohort.run.job import Begin, Job
from voxarray.cohort.run.task import Result, Task, convert_throttled, peak_of
from voxarray.core import memory, settings
from voxarray.core.shares import processes_of, share_of


@dataclass(frozen=True, slots=True)
class OnExecutor:
    """One task per image; the executor decides where they run, and how many at once.

    Attributes:
        executor: Takes functions that can be pickled; the caller shuts it down.
    """

    executor: Executor

    def run(self, job: Job, begin: Begin) -> Iterator[Result]:
        share = share_of(processes_of(self.executor))
        budget = share.get("memory-budget", memory.budget())
        # Images that exceed the budget of a process are converted at the end by this one, which has
        # a larger budget.
        large = [item for item in job.items if share and (peak_of(item) or 0) > budget]
        small = [item for item in job.items if item not in large] if large else job.items
        yield from self._spread(replace(job, items=small), begin, settings.configured() | share)
        yield from InProcess().run(replace(job, items=large), begin)

    def _spread(self, job: Job, begin: Begin, ours: Mapping[str, Any]) -> Iterator[Result]:
        futures: dict[Future[Result], Item] = {}
        try:
            for item in job.items:
                begin(item)
                task = job.task(item)
                futures[submitted(self.executor, convert_elsewhere, ours, task)] = item
            for future in completed(list(futures)):
                yield _result(future, futures.pop(future), job)
        finally:
            cancel(list(futures))
            for future, item in futures.items():
                if future.done() and not future.cancelled():
                    job.late.append(_result(future, item, job))


def convert_elsewhere(ours: Mapping[str, Any], task: Task) -> Result:
    """Convert one image with the settings of the process that submitted it.

    Threads of one process wait for each other if their images together exceed its budget.
    """
    with settings.of_task(ours):
        return convert_throttled(task)


def _result(future: Future[Result], item: Item, job: Job) -> Result:
    source = item.origin.source
    value = outcome(future, Result, source, job.opener_of(item).places)
    if isinstance(value, Result):
        return value
    return job.noted(Result(item.slug, "failed", item.key, value))
