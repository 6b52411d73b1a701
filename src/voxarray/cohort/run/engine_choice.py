"""Who converts: this process, workers of its own on this machine, or a running scheduler."""

from __future__ import annotations

import sys
from concurrent.futures import Executor

from voxarray.cohort.run.dask import Distributed
from voxarray.cohort.run.given_executor import OnExecutor
from voxarray.cohort.run.in_process import InProcess
from voxarray.cohort.run.job import Engine


def choose_engine(workers: int, scheduler: str | None, executor: Executor | None = None) -> Engine:
    """The engine that arguments ask for; a client that exists already counts as asking."""
    if executor is not None:
        return OnExecutor(executor)
    if workers > 0 or scheduler is not None:
        return Distributed(workers, scheduler)
    if "distributed" in sys.modules:
        from distributed import default_client

        try:
            default_client()
        except ValueError:
            return InProcess()
        return Distributed()
    return InProcess()
