"""Submitting calls to a `concurrent.futures.Executor`, and their results."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, as_completed
from contextlib import suppress
from typing import Any, TypeVar

from voxarray.cohort.plan.failures import failure_of
from voxarray.cohort.plan.item import Failure
from voxarray.core.errors import StateError
from voxarray.core.main_guard import GUARD, script_without_guard

_Result = TypeVar("_Result")

_ASKED_EVERY = 0.5
"""Seconds between two queries to a job system."""


class _NoResultError(Exception):
    """A future is done, but its result is of another type."""


def submitted(
    executor: Executor, function: Callable[..., _Result], *arguments: Any
) -> Future[_Result]:
    """Submit a call to an executor.

    Raises:
        StateError: If it takes no more work, or returns no future (``EXECUTOR_LOST``).
    """
    try:
        future = executor.submit(function, *arguments)
    # It is shut down, or its processes are dead, or the job system does not answer.
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        raise StateError(
            f"the executor no longer accepts tasks ({error}): to resume, run again with a new one",
            code="EXECUTOR_LOST",
        ) from error
    if not all(hasattr(future, name) for name in ("done", "exception", "result")):
        raise StateError(
            f"submit() of {type(executor).__name__} returned a {type(future).__name__}, not a "
            "future: pass a concurrent.futures.Executor",
            code="EXECUTOR_LOST",
        )
    return future


def completed(futures: Sequence[Future[_Result]]) -> Iterator[Future[_Result]]:
    """Futures as they are done; those of submitit are no Python futures, and have to be polled."""
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


def cancel(futures: Sequence[Future[Any]]) -> None:
    """Cancel the futures that are not done."""
    for future in futures:
        if not future.done():
            # submitit calls scancel, which fails for a job that has just ended.
            with suppress(OSError, subprocess.SubprocessError):
                future.cancel()


def outcome(
    future: Future[_Result], kind: type[_Result], source: str, places: dict[str, str]
) -> _Result | Failure:
    """The result of a future that is done, or its failure.

    Args:
        future: As `completed` yields it.
        kind: Expected type of the result.
        source: Name of the input for the user.
        places: As in `failure_of`.
    """
    try:
        error = future.exception()
    except CancelledError as cancelled:
        error = cancelled
    if error is None:
        result: object = future.result()
        if isinstance(result, kind):
            return result
        # Some executors do that if they could not bring the result back.
        error = _NoResultError(type(result).__name__)
    if isinstance(error, (BrokenExecutor, CancelledError)) or _is_lost(error):
        script = script_without_guard() if isinstance(error, BrokenExecutor) else ""
        guard = f", or {script} lacks {GUARD}, which spawned workers need" if script else ""
        text = (
            f"the worker of this image died or was cancelled ({type(error).__name__}): the image "
            f"may need more memory than there is{guard}; run again to resume"
        )
        return Failure("WORKER_LOST", text, source)
    # For example, an argument or the result could not be pickled.
    return failure_of(error, source, places)


def _is_lost(error: BaseException) -> bool:
    """Whether a job ended without a result, as one of submitit that SLURM kills does."""
    return isinstance(error, _NoResultError) or type(error).__name__ == "UncompletedJobError"
