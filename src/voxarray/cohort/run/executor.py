"""Converting on any `concurrent.futures.Executor`: submitit, MPI, a dask client, processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from dataclasses import dataclass
from typing import Any

from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.failures import failure_of
from voxarray.cohort.plan.item import Failure, Item
from voxarray.cohort.run.job import Begin, Job
from voxarray.cohort.run.task import Result, Task, convert_throttled, noted_down
from voxarray.core import settings


@dataclass(frozen=True, slots=True)
class OnExecutor:
    """One task per image; the executor decides where and how many at once.

    Attributes:
        executor: Takes functions that can be pickled, and belongs to the caller, who shuts it down.
    """

    executor: Executor

    def run(self, job: Job, begin: Begin) -> Iterator[Result]:
        ours = settings.configured()
        futures: dict[Future[Result], Item] = {}
        for item in job.items:
            begin(item)
            futures[self.executor.submit(convert_elsewhere, ours, job.task(item))] = item
        try:
            for future in as_completed(futures):
                yield _result(future, futures[future], job)
        finally:
            for future in futures:
                future.cancel()


def convert_elsewhere(ours: Mapping[str, Any], task: Task) -> Result:
    """Convert one image with what is set where the work was given out.

    Threads of one process wait for each other where their images exceed its budget together.
    """
    with settings.of_task(ours):
        return convert_throttled(task)


def _result(future: Future[Result], item: Item, job: Job) -> Result:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, BrokenExecutor):
        text = "its worker died: it may need more memory than there is; run again to resume"
        failure = Failure("WORKER_LOST", text, item.origin.source)
    else:  # what it was given or gave back could not be pickled, for one
        failure = failure_of(error, item.origin.source, job.opener_of(item).places)
    return noted_down(Result(item.slug, "failed", item.key, failure), CohortLayout.of(job.root), "")
