"""Workers of dask do less beside our tasks: they sample stacks a hundred times a second.

Those of `distributed` take the stack of each task for a dashboard, and look every 20 ms whether
their loop answers. Together that is a tenth of a core: of a scan of 64^3, a sixth of what it takes.
It goes on while our tasks run, twice a second, and as before when they have ended; what the process
and the machine use, disks and networks included, is asked for every other second.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_EVERY = {"profile": 500.0, "tick": 500.0, "monitor": 2000.0}
"""Milliseconds, by name; a worker complains of a loop that has not answered for 3 seconds."""

_lock = threading.Lock()
_running: dict[Any, tuple[int, dict[Any, float]]] = {}


@contextmanager
def seldom_sampled() -> Iterator[None]:
    """Let the worker that this thread belongs to sample less often, until nothing of ours runs."""
    from distributed import get_worker

    worker = get_worker()
    with _lock:
        count, before = _running.get(worker) or (0, _slowed(worker))
        _running[worker] = count + 1, before
    try:
        yield
    finally:
        with _lock:
            count, before = _running.pop(worker)
            if count > 1:
                _running[worker] = count - 1, before
            else:
                for callback, milliseconds in before.items():
                    callback.callback_time = milliseconds


def _slowed(worker: Any) -> dict[Any, float]:
    """What is called less often now, with how often it was called before."""
    before = {}
    for name, milliseconds in _EVERY.items():
        # As `distributed` itself changes how often heartbeats come.
        callback = getattr(worker, "periodic_callbacks", {}).get(name)
        if callback is not None and callback.callback_time < milliseconds:
            before[callback] = callback.callback_time
            callback.callback_time = milliseconds
    return before
