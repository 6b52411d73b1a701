"""The event loop of this process, in which requests are made side by side."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_lock = threading.Lock()
_loops: list[asyncio.AbstractEventLoop] = []


def running_loop() -> asyncio.AbstractEventLoop:
    """The loop of this process, which a thread of its own runs."""
    import asyncio  # 40 ms that local files do not need

    with _lock:
        if not _loops:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="voxarray-ask", daemon=True).start()
            _loops.append(loop)
        return _loops[0]


def _forget_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    _loops.clear()  # its thread stayed in the parent


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
