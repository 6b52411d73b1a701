"""The threads of this process: pools that encode and decode, that compute, and that wait.

All are made on first use, and survive forks. Tasks given to a pool never wait for other tasks of
the same pool, so that it cannot deadlock, and callers may be threads of dask or of a data loader.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

from voxarray.core import settings

P = ParamSpec("P")
T = TypeVar("T")

_LOG = logging.getLogger(__name__)

_WAITING = 4

_local = threading.local()
_lock = threading.Lock()
_pools: dict[tuple[str, int], ThreadPoolExecutor] = {}


def pool(threads: int | None = None) -> ThreadPoolExecutor:
    """The executor with this many threads; the setting ``voxarray.threads`` by default."""
    return _pool("voxarray", threads or settings.threads())


def computing_pool() -> ThreadPoolExecutor:
    """Threads that compute parts of lazy operations: these read, and reading waits for `pool`."""
    return _pool("voxarray-compute", settings.threads(), _compute_alone)


def is_computing() -> bool:
    """Whether this is a thread of `computing_pool`, of which all cores have one."""
    return getattr(_local, "is_computing", False)


def _compute_alone() -> None:
    _local.is_computing = True


def waiting_pool() -> ThreadPoolExecutor:
    """Threads that wait for the disk or a store, not for a core."""
    return _pool("voxarray-disk", _WAITING)


def asking_pool() -> ThreadPoolExecutor:
    """As `request_pool`, for short questions, which do not wait until others have put all."""
    return _pool("voxarray-ask", max(1, int(settings.get("remote-requests"))))


def request_pool() -> ThreadPoolExecutor:
    """Threads that put objects: as many requests at once as ``voxarray.remote-requests`` says."""
    return _pool("voxarray-put", max(1, int(settings.get("remote-requests"))))


@contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """Ask a store for something while the body is run; both have ended at the end.

    Raises:
        BaseException: That of the body, or else that of the work.
    """
    future = asking_pool().submit(work)
    try:
        yield
    finally:
        wait([future])
    future.result()


class CallingThread(Executor):
    """Does what is submitted at once, in the thread that asks: for work that no thread is worth."""

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future = Future[T]()
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:  # raised where the result is taken
            future.set_exception(error)
        return future


class PreparingThread:
    """Does what may be of use later, one task after another; what fails is left undone.

    The end of the process does not wait for it: nothing is lost with what it has not done.
    """

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._work, name="voxarray-ahead", daemon=True).start()

    def submit(self, task: Callable[[], None]) -> None:
        """Do a task after those that were given before."""
        self._tasks.put(task)

    def _work(self) -> None:
        while True:
            try:
                self._tasks.get()()
            except Exception as error:  # whoever needs it does it, and is told
                _LOG.debug("not prepared: %s", error)


_preparing: list[PreparingThread] = []


def preparing_thread() -> PreparingThread:
    """That of this process."""
    if not _preparing:
        with _lock:
            if not _preparing:
                _preparing.append(PreparingThread())
    return _preparing[0]


def _pool(name: str, count: int, begin: Callable[[], None] | None = None) -> ThreadPoolExecutor:
    with _lock:
        if (name, count) not in _pools:
            _pools[name, count] = ThreadPoolExecutor(
                count, thread_name_prefix=name, initializer=begin
            )
        return _pools[name, count]


def work_alone() -> None:
    """Decode in the calling thread from now on, unless ``voxarray.threads`` is configured.

    For a process that is one of several that work side by side, such as a loader's.
    """
    import dask.config

    if settings.get("threads") is None:
        dask.config.set({"voxarray.threads": 1})


def _forget_in_child() -> None:
    # A fork copies the pool without its threads: tasks given to it would never run.
    global _lock
    _lock = threading.Lock()
    _pools.clear()
    _preparing.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
