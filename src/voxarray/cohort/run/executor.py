"""Converting on any `concurrent.futures.Executor`: submitit, MPI, a dask client, processes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, as_completed
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.failures import failure_of
from voxarray.cohort.plan.item import Failure, Item
from voxarray.cohort.run.in_process import InProcess
from voxarray.cohort.run.job import Begin, Job
from voxarray.cohort.run.task import Result, Task, convert_throttled, noted_down, peak_of
from voxarray.core import memory, settings
from voxarray.core.errors import StateError
from voxarray.core.shares import processes_of, share_of

_ASKED_EVERY = 0.5
"""Seconds between questions to a system of jobs."""


class _NoResultError(Exception):
    """An executor says that a task is done, and gives back something else."""


@dataclass(frozen=True, slots=True)
class OnExecutor:
    """One task per image; the executor decides where and how many at once.

    Attributes:
        executor: Takes functions that can be pickled, and belongs to the caller, who shuts it down.
    """

    executor: Executor

    def run(self, job: Job, begin: Begin) -> Iterator[Result]:
        share = share_of(processes_of(self.executor))
        budget = share.get("memory-budget", memory.budget())
        # What one process may not hold is done at the end by this one, which may hold more.
        large = [item for item in job.items if share and (peak_of(item) or 0) > budget]
        small = [item for item in job.items if item not in large] if large else job.items
        yield from self._spread(replace(job, items=small), begin, settings.configured() | share)
        yield from InProcess().run(replace(job, items=large), begin)

    def _spread(self, job: Job, begin: Begin, ours: Mapping[str, Any]) -> Iterator[Result]:
        futures: dict[Future[Result], Item] = {}
        try:
            for item in job.items:
                begin(item)
                futures[self._submitted(ours, job.task(item))] = item
            for future in _completed(list(futures)):
                yield _result(future, futures[future], job)
        finally:
            for future in futures:
                if not future.done():
                    # submitit asks scancel, which may know nothing of a job that has just ended.
                    with suppress(OSError, subprocess.SubprocessError):
                        future.cancel()

    def _submitted(self, ours: Mapping[str, Any], task: Task) -> Future[Result]:
        try:
            future = self.executor.submit(convert_elsewhere, ours, task)
        # Shut down, or its processes are dead, or the system of jobs does not answer.
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            raise StateError(
                f"the executor takes no more work ({error}): run again with a new one to resume",
                code="EXECUTOR_LOST",
            ) from error
        if not all(hasattr(future, name) for name in ("done", "exception", "result")):
            raise StateError(
                f"submit() of {type(self.executor).__name__} gave back {type(future).__name__}, "
                "which is no future: pass a concurrent.futures.Executor",
                code="EXECUTOR_LOST",
            )
        return future


def convert_elsewhere(ours: Mapping[str, Any], task: Task) -> Result:
    """Convert one image with what is set where the work was given out.

    Threads of one process wait for each other where their images exceed its budget together.
    """
    with settings.of_task(ours):
        return convert_throttled(task)


def _completed(futures: Sequence[Future[Result]]) -> Iterator[Future[Result]]:
    """Futures as they are done; those of submitit are none of Python's, and have to be asked."""
    if all(isinstance(future, Future) for future in futures):
        yield from as_completed(futures)
        return
    waiting = list(futures)
    while waiting:
        done = [future for future in waiting if future.done()]
        yield from done
        waiting = [future for future in waiting if future not in done]
        if waiting and not done:
            time.sleep(_ASKED_EVERY)


def _result(future: Future[Result], item: Item, job: Job) -> Result:
    try:
        error = future.exception()
    except CancelledError as cancelled:
        error = cancelled
    if error is None:
        result: object = future.result()
        if isinstance(result, Result):
            return result
        # As some executors do with what they could not bring back.
        error = _NoResultError(type(result).__name__)
    if isinstance(error, (BrokenExecutor, CancelledError)) or _is_lost(error):
        text = (
            f"its worker died or was cancelled ({type(error).__name__}): it may need more memory "
            "than there is; run again to resume"
        )
        failure = Failure("WORKER_LOST", text, item.origin.source)
    else:  # what it was given or gave back could not be pickled, for one
        failure = failure_of(error, item.origin.source, job.opener_of(item).places)
    return noted_down(Result(item.slug, "failed", item.key, failure), CohortLayout.of(job.root), "")


def _is_lost(error: BaseException) -> bool:
    """Whether a job ended without a result, as one of submitit that SLURM kills does."""
    return isinstance(error, _NoResultError) or type(error).__name__ == "UncompletedJobError"
