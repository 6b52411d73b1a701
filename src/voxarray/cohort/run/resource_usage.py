"""What a step of this process costs: time, bytes read, and the peak of its memory."""

from __future__ import annotations

import mmap
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from voxarray.core import portable

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_PROC = "/proc/self"
_PAGE = mmap.PAGESIZE
_LARGEST = 1 << 16
"""Bytes that a file of the process may have here; the kernel's have some thousand."""


@dataclass(slots=True)
class ResourceUsage:
    """Cost of a step; memory and reading are None where the system does not tell (not Linux).

    Attributes:
        seconds: Wall time.
        read: Bytes that were asked of the file system, if that was to be told.
        peak: Bytes of memory at the peak, above what the process used before.
    """

    seconds: float = 0.0
    read: int | None = None
    peak: int | None = None
    _highest: int = 0


_lock = threading.Lock()
_least = sys.maxsize
"""KiB that ``getrusage`` has told so far, at least."""
_running: list[ResourceUsage] = []


@contextmanager
def metered(*, reading: bool = False) -> Iterator[ResourceUsage]:
    """Measure the body; the cost is complete when it ends.

    Bodies that run at once in several threads are told what the process needed meanwhile.

    Args:
        reading: Also tell what was read, which costs as much as all the rest.
    """
    cost = ResourceUsage()
    with _lock:
        _keep_peak()
        resident, asked = _reset_peak(), _field("io", "rchar") if reading else None
        _running.append(cost)
    began = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - began
        with _lock:
            _keep_peak()
            # By identity: costs that have measured the same are equal.
            _running[:] = [one for one in _running if one is not cost]
        now = _field("io", "rchar") if reading else None
        cost.read = None if now is None or asked is None else now - asked
        cost.peak = None if resident is None else cost._highest - resident


def _keep_peak() -> None:
    """Note the peak so far with all that run, before somebody makes the kernel forget it."""
    if not _running:
        return
    peak = _peak()
    for cost in _running:
        cost._highest = max(cost._highest, peak)


def _peak() -> int:
    """Bytes at the peak since the kernel was told to forget it.

    A call tells it for a twentieth of what the file of the process costs, but never less than the
    process that started this one had. That is the same all the time: what is above the least that
    was ever told is what this process had itself.
    """
    global _least
    told = 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if told > _least:
        return 1024 * told
    _least = told or _least
    return 1024 * (_field("status", "VmHWM") or 0)


def _reset_peak() -> int | None:
    """Resident bytes now, after the kernel has forgotten the peak so far (proc(5), clear_refs)."""
    try:
        forget = os.open(f"{_PROC}/clear_refs", os.O_WRONLY | portable.CLOEXEC)
        try:
            os.write(forget, b"5")
        finally:
            os.close(forget)
        # A tenth of what status takes.
        return int(_read("statm").split()[1]) * _PAGE
    except (OSError, MemoryError):  # what is measured fails by itself, and is named
        return None


def _field(file: str, name: str) -> int | None:
    try:
        text = _read(file)
    except (OSError, MemoryError):
        return None
    wanted = f"{name}:".encode()
    numbers = (line.split()[1] for line in text.splitlines() if line.startswith(wanted))
    return next(map(int, numbers), None)


def _read(file: str) -> bytes:
    fd = os.open(f"{_PROC}/{file}", os.O_RDONLY | portable.CLOEXEC)
    try:
        return os.read(fd, _LARGEST)
    finally:
        os.close(fd)
