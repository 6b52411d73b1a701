"""Resources that a step of this process uses: time, bytes read, and peak memory."""

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
"""Most bytes of a file in ``/proc/self`` that are read; they have a few thousand."""


@dataclass(slots=True)
class ResourceUsage:
    """Resources that a step used; memory and reading are None if the system is not Linux.

    Attributes:
        seconds: Wall time.
        read: Bytes that were read from the file system, if that was measured.
        peak: Bytes of memory at the peak, above what the process used before.
    """

    seconds: float = 0.0
    read: int | None = None
    peak: int | None = None
    _highest: int = 0


_lock = threading.Lock()
_least = sys.maxsize
"""Smallest peak in KiB that ``getrusage`` has returned so far."""
_running: list[ResourceUsage] = []
_files: list[int] = []
"""Descriptors of ``clear_refs`` and ``statm``, while they are kept open."""
_keepers = 0


@contextmanager
def measured_often() -> Iterator[None]:
    """Keep the files of `metered` open in the body: opening takes six times as long as reading."""
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
    """Measure the body; the values are complete when it ends.

    If several threads are measured at once, each gets the memory of the whole process.

    Args:
        reading: Also measure the bytes read, which takes as long as all the rest.
    """
    cost = ResourceUsage()
    with _lock:
        _keep_peak()
        resident, read_before = _reset_peak(), _field("io", "rchar") if reading else None
        _running.append(cost)
    start = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - start
        with _lock:
            _keep_peak()
            # By identity: costs that have measured the same are equal.
            _running[:] = [running for running in _running if running is not cost]
        read_after = _field("io", "rchar") if reading else None
        cost.read = None if read_after is None or read_before is None else read_after - read_before
        # Not negative: the kernel counts pages per thread and sums them late, so that the peak may
        # seem lower than the memory before.
        cost.peak = None if resident is None else max(0, cost._highest - resident)


def _keep_peak() -> None:
    """Record the peak so far for all that are measured, before the kernel's value is reset."""
    if not _running:
        return
    peak = _peak()
    for cost in _running:
        cost._highest = max(cost._highest, peak)


def _peak() -> int:
    """Bytes at the peak since the kernel's value was reset.

    ``getrusage`` takes a twentieth of the time of reading ``status``, but never returns less than
    the memory of the parent process. That is a constant: a value above the smallest one so far is
    therefore a peak of this process; else ``status`` is read.
    """
    global _least
    highest = 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if highest > _least:
        return 1024 * highest
    _least = highest or _least
    return 1024 * (_field("status", "VmHWM") or 0)


def _reset_peak() -> int | None:
    """Reset the kernel's peak (proc(5), clear_refs), and return the resident bytes."""
    try:
        if not _files:
            _files.append(os.open(f"{_PROC}/clear_refs", os.O_WRONLY | portable.CLOEXEC))
            _files.append(os.open(f"{_PROC}/statm", os.O_RDONLY | portable.CLOEXEC))
        forget, memory = _files
        os.pwrite(forget, b"5", 0)
        # Takes a tenth of the time of reading ``status``.
        return int(os.pread(memory, _LARGEST, 0).split()[1]) * _PAGE
    except (OSError, MemoryError, ValueError):  # the measured step must not fail by this
        return None
    finally:
        _close_files()


def _close_files() -> None:
    """Close the files, unless `measured_often` keeps them open."""
    while _files and not (_keepers and len(_files) == 2):
        os.close(_files.pop())


def _forget_parents() -> None:
    """Close the files in the child of a fork: they are about the memory of the parent."""
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
    prefix = f"{name}:".encode()
    numbers = (line.split()[1] for line in text.splitlines() if line.startswith(prefix))
    return next(map(int, numbers), None)


def _read(file: str) -> bytes:
    fd = os.open(f"{_PROC}/{file}", os.O_RDONLY | portable.CLOEXEC)
    try:
        return os.read(fd, _LARGEST)
    finally:
        os.close(fd)
