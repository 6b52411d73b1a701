"""The allocator's heap: what was freed in it and is kept for later."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

TRIM_THRESHOLD, MMAP_THRESHOLD = "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"
"""Variables of the environment that glibc's allocator reads when a process starts (mallopt(3))."""

ROOMY = {MMAP_THRESHOLD: 32 << 20, TRIM_THRESHOLD: 64 << 20}
"""Where the allocator ends by itself, in bytes, if it is let."""

_OPTIONS = {MMAP_THRESHOLD: -3, TRIM_THRESHOLD: -1}
"""Numbers of the same in calls of ``mallopt``."""

_USUAL = 128 << 10
"""Of both, where nothing else is said."""

_lock = threading.Lock()
_users = 0


@cache
def _library() -> Any:
    """The C library, if it can give freed memory back: glibc can."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "malloc_trim") else None


def trim() -> None:
    """Give freed memory back to the system; a few milliseconds.

    Large arrays that come and go among small ones leave holes that the next does not fit into: of
    predictions of 12.5 MiB, two at a time, 100 MiB were held after three hundred.
    """
    library = _library()
    if library is not None:
        library.malloc_trim(0)


@contextmanager
def freed_kept() -> Iterator[None]:
    """Keep what is freed for what comes next, where the environment wants it given back at once.

    Nannies of `distributed` start workers with a trim threshold of 64 KiB, which fixes the other
    one, too: each buffer of a chunk is fresh pages then. Of a scan of 64^3 they were 570, and a
    quarter of the processor time. When the last of those who ask for this in the process has ended,
    all is as it was, and what is free is given back.
    """
    global _users
    with _lock:
        is_asked = _is_low() and _library() is not None
        if is_asked:
            if not _users:
                _set(ROOMY)
            _users += 1
    try:
        yield
    finally:
        if is_asked:
            with _lock:
                _users -= 1
                if not _users:
                    _set({name: _from_environment(name) or _USUAL for name in ROOMY})
                    trim()


def _is_low() -> bool:
    threshold = _from_environment(TRIM_THRESHOLD)
    return threshold is not None and threshold < ROOMY[TRIM_THRESHOLD]


def _from_environment(name: str) -> int | None:
    """What the environment says; None if it says nothing that is a number."""
    try:
        return int(os.environ[name])
    except (KeyError, ValueError):
        return None


def _set(thresholds: dict[str, int]) -> None:
    for name, value in thresholds.items():
        _library().mallopt(_OPTIONS[name], value)


def _forget_parents() -> None:
    """The child of a fork has none of the threads that asked."""
    global _lock, _users
    _lock, _users = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)
