"""The event loop of this process, in which requests are made side by side."""

from __future__ import annotations

import atexit
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_lock = threading.Lock()
_loops: list[asyncio.AbstractEventLoop] = []
_is_ending = False

_LONGEST_END = 1.0
"""Seconds after which the process ends, whatever its requests do."""

_GRACE = 0.1
"""Seconds in which threads of obstore learn that a request was cancelled."""


def running_loop() -> asyncio.AbstractEventLoop:
    """The loop of this process, which a thread of its own runs."""
    import asyncio  # 40 ms that local files do not need

    with _lock:
        if not _loops:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="voxarray-ask", daemon=True).start()
            _loops.append(loop)
        return _loops[0]


def is_ending() -> bool:
    """Whether the process ends, so that no request may begin any more."""
    return _is_ending


def _end() -> None:
    """Cancel the requests that are under way when the process ends.

    Otherwise their answers could come to threads of obstore when there is no interpreter any more.
    Such a thread aborts the process, which has done its work and yet ends with an error.
    """
    global _is_ending
    _is_ending = True
    if not _loops:
        return
    import asyncio

    async def cancelled() -> int:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_LONGEST_END)
        return len(tasks)

    with suppress(TimeoutError):
        if asyncio.run_coroutine_threadsafe(cancelled(), _loops[0]).result(2 * _LONGEST_END):
            time.sleep(_GRACE)  # what obstore's threads do about it, nobody tells


atexit.register(_end)


def _forget_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    _loops.clear()  # its thread stayed in the parent


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
