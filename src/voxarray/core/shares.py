"""What each of several processes on one machine may use of the memory and the threads of all."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any

from voxarray.core import memory, settings


def share_of(processes: int) -> dict[str, Any]:
    """Settings of each of so many processes; none of its own if there are none."""
    if not processes:
        return {}
    return {
        "memory-budget": memory.budget() // processes,
        "threads": max(1, settings.threads() // processes),
    }


def processes_of(executor: Executor) -> int:
    """Processes that an executor has on this machine; 0 for threads, and for jobs elsewhere.

    Threads take turns where they exceed the budget together. Of jobs elsewhere each has limits of
    its own.
    """
    if not isinstance(getattr(executor, "_processes", None), dict):
        return 0
    return getattr(executor, "_max_workers", None) or 0
