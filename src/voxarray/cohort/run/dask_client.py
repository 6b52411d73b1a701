"""A client of dask: of a running scheduler, or of workers that are started here."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from voxarray.cohort.run import throttle
from voxarray.core import heap
from voxarray.core.errors import TransportError
from voxarray.core.main_guard import workers_not_started

_ENVIRONMENT = "distributed.nanny.pre-spawn-environ"
_UNWATCHED = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1 s",
    "distributed.admin.system-monitor.interval": "2 s",
}
"""Settings of our own workers, which nobody watches on a dashboard: no stacks are sampled (default:
100 times a second), and the system is asked less often for usage (default: twice a second)."""
_PATIENCE = "20 s"
"""How long a scheduler may take to answer."""
_RESTARTS = {"distributed.deploy.lost-worker-timeout": "1 h"}
"""How long the restart of a worker that died may take. After the default of 15 seconds, which a
busy machine needs for the imports alone, the cluster ends its nanny, and nobody restarts it."""


@contextmanager
def client_of(
    workers: int, scheduler: str | None, overlapping: bool, share: Mapping[str, Any]
) -> Iterator[Any]:
    """A client of a scheduler; without arguments, the default client of the process.

    Args:
        workers: Processes to start on this machine, which end with the client.
        scheduler: Address of a running scheduler, instead.
        overlapping: Whether a worker that is started may be at several images at once.
        share: Settings of each worker that is started.

    Raises:
        TransportError: If none answers (``NO_SCHEDULER``), or workers do not start
            (``NO_WORKERS``).
        StateError: If workers do not start because the script has no guard (``NO_MAIN_GUARD``).
    """
    if scheduler is None and not workers:
        from distributed import default_client

        yield default_client()
        return
    connected = _of_scheduler(scheduler) if scheduler else _of_workers(workers, overlapping, share)
    with _quiet(), connected as client:
        yield client


@contextmanager
def _of_scheduler(scheduler: str) -> Iterator[Any]:
    from distributed import Client

    try:
        client = Client(scheduler, timeout=_PATIENCE)
    except (OSError, ValueError, TimeoutError) as error:
        raise TransportError(
            f"no scheduler answers at {scheduler} ({type(error).__name__}): start one "
            "with dask scheduler, or use --workers",
            code="NO_SCHEDULER",
        ) from error
    with client:
        yield client


@contextmanager
def _of_workers(workers: int, overlapping: bool, share: Mapping[str, Any]) -> Iterator[Any]:
    import dask.config
    from distributed import Client

    # Those of `distributed` are so low that each buffer of a chunk would be fresh pages.
    environment = {**dask.config.get(_ENVIRONMENT), **heap.ROOMY}
    with (
        dask.config.set({_ENVIRONMENT: environment, **_UNWATCHED, **_RESTARTS}),
        _cluster(workers, overlapping, share) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _cluster(workers: int, overlapping: bool, share: Mapping[str, Any]) -> Any:
    import dask.config
    from distributed import LocalCluster

    try:
        # A nanny keeps the settings that there are when it is made, for whoever takes the place
        # of a worker that dies, too.
        own = {f"voxarray.{key}": value for key, value in share.items()}
        with dask.config.set(own), _interrupts_held_back():
            return LocalCluster(
                n_workers=workers,
                # They take turns; some wait for the disk. So many as its share of cores may have.
                threads_per_worker=throttle.at_once() if overlapping else 1,
                processes=True,
                # Its port speaks pickle: whoever reaches it runs code, so no other machine may.
                host="127.0.0.1",
                dashboard_address=None,
                # Without a port of its choice it asks for 8787, and warns where others run.
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
                memory_limit=0,  # our own budget is kept before memory is taken
                silence_logs=logging.CRITICAL,
            )
    except (RuntimeError, OSError) as error:
        raise workers_not_started(workers, error) from error


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C reaches a whole group of processes; workers, which inherit this, leave it to us.

    One that is interrupted while it starts tells of that with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # lets interrupts in again where it is started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what distributed logs of workers that come and go: failures are ours to tell."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
