"""The threads of this process that encode and decode: one pool, made on first use, fork-safe.

Tasks given to the pool never wait for other tasks of the pool, so that it cannot deadlock, and
callers may be threads of dask or of a data loader.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

from voxarray import settings

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}


def pool(threads: int | None = None) -> ThreadPoolExecutor:
    """The executor with this many threads; the setting ``voxarray.threads`` by default."""
    count = threads or settings.threads()
    with _lock:
        if count not in _pools:
            _pools[count] = ThreadPoolExecutor(count, thread_name_prefix="voxarray")
        return _pools[count]


def _forget_in_child() -> None:
    # A fork copies the pool without its threads: tasks given to it would never run.
    global _lock
    _lock = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
