"""Slowing down the monitoring of dask workers while our tasks run.

Workers of `distributed` sample the stack of each task 100 times a second for a dashboard, and check
every 20 ms whether their event loop responds. Together that takes a tenth of a core, or a sixth of
the time of a scan of 64^3. While our tasks run, both happen twice a second, and the use of memory,
disks and networks is measured every other second; afterwards the old intervals are restored.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_EVERY = {"profile": 500.0, "tick": 500.0, "monitor": 2000.0}
"""Milliseconds, by name; a worker warns if its event loop has not responded for 3 seconds."""

_lock = threading.Lock()
_running: dict[Any, tuple[int, dict[Any, float]]] = {}


@contextmanager
def slowed_monitoring() -> Iterator[None]:
    """Let the worker of this thread sample less often, until our last task on it has ended."""
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
    """Slow down the callbacks of a worker; returns their intervals before."""
    before = {}
    for name, milliseconds in _EVERY.items():
        # `distributed` itself changes the interval of its heartbeat in this way.
        callback = getattr(worker, "periodic_callbacks", {}).get(name)
        if callback is not None and callback.callback_time < milliseconds:
            before[callback] = callback.callback_time
            callback.callback_time = milliseconds
    return before
