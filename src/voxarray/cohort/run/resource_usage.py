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
_files: list[int] = []
"""Descriptors of ``clear_refs`` and ``statm``, as long as they are kept open."""
_keepers = 0


@contextmanager
def measured_often() -> Iterator[None]:
    """Keep what tells of memory open until the body ends: to open it takes six times the asking."""
    global _keepers
    with _lock:
        _keepers += 1
    try:
        yield
    finally:
        with _lock:
            _keepers = max(0, _keepers - 1)
            _close_files()


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
        # The kernel counts pages for each thread, and adds them up late: the peak may seem lower.
        cost.peak = None if resident is None else max(0, cost._highest - resident)


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
        if not _files:
            _files.append(os.open(f"{_PROC}/clear_refs", os.O_WRONLY | portable.CLOEXEC))
            _files.append(os.open(f"{_PROC}/statm", os.O_RDONLY | portable.CLOEXEC))
        forget, memory = _files
        os.pwrite(forget, b"5", 0)
        # A tenth of what status takes.
        return int(os.pread(memory, _LARGEST, 0).split()[1]) * _PAGE
    except (OSError, MemoryError, ValueError):  # what is measured fails by itself, and is named
        return None
    finally:
        _close_files()


def _close_files() -> None:
    """Close what is open, unless somebody keeps it."""
    while _files and not (_keepers and len(_files) == 2):
        os.close(_files.pop())


def _forget_parents() -> None:
    """The child of a fork has another memory than what its parent keeps open tells of."""
    global _lock, _keepers
    _lock, _keepers = threading.Lock(), 0
    _running.clear()
    _close_files()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)


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
