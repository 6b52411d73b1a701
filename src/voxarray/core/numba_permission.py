"""Whether this process may compile, and whether it has the memory for it.

One that was forked while another thread compiled may not: what numba had locked then stays locked
in the child, and whoever compiles there waits for ever.
"""

from __future__ import annotations

import os
import sys

from voxarray.core import memory

_ROOMY = 1 << 30
"""Smallest memory budget with which numba is loaded: no operation counts numba's own memory."""

_is_locked = False


def may_compile() -> bool:
    """Whether compiled loops may be asked for in this process."""
    return not _is_locked


def has_room() -> bool:
    """Whether the memory budget leaves room for numba, which takes 110 MiB."""
    return memory.budget() >= _ROOMY


def _look() -> None:
    global _is_locked
    module = sys.modules.get("numba.core.compiler_lock")
    if module is None:
        # Another thread may be amid importing it, and holds the lock of the import.
        _is_locked = "numba" in sys.modules
        return
    lock = module.global_compiler_lock._lock  # re-entrant: the thread that forks may hold it
    if lock.acquire(blocking=False):
        lock.release()
    else:
        _is_locked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_look)
