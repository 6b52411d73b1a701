"""How much memory there is, how much an operation may use, and how much it will need.

Peak memory is projected before anything is read; a projection above the budget is an error that
says what to do instead, never an attempt.
"""

from __future__ import annotations

import logging
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from voxarray.core import resource_limits, settings
from voxarray.core.errors import MemoryBudgetError

_LOG = logging.getLogger("voxarray.memory")
"""Every projection, for whoever wants to compare it with what was used."""

_AHEAD = 16 << 20
"""Bytes that keep a fast network busy: requests are joined up to 2 MiB."""

_MIB = 1 << 20

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


_SUPPOSED: ContextVar[int | None] = ContextVar("_SUPPOSED", default=None)
"""The budget in bytes of a projection of what would be if it were another one."""


def format_bytes(count: int) -> str:
    """Bytes as people read them, for example ``"93.8 KiB"``."""
    size = float(count)
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def limit() -> int:
    """Bytes that this process may use: the least of what `voxarray.core.resource_limits` finds."""
    return resource_limits.memory().value


def budget() -> int:
    """Bytes that one operation may use: setting ``memory-budget``, by default half the limit.

    A setting that came with a task from another machine may ask for more than this one has: then
    the limit counts.
    """
    supposed = _SUPPOSED.get()
    if supposed is not None:
        return supposed
    if settings.get("memory-budget") is None:
        return limit() // 2
    configured = settings.get_bytes("memory-budget")
    return min(configured, limit()) if settings.came_with_task("memory-budget") else configured


def cache_limit() -> int:
    """Bytes of decoded blocks that this process may keep.

    Setting ``block-cache``, but never more than a quarter of the budget: what an operation leaves
    in the cache counts as its memory, and it needs some besides.
    """
    return min(settings.get_bytes("block-cache"), budget() // 4)


def ahead_limit() -> int:
    """Bytes of encoded chunks on their way that nobody has asked for yet.

    What an operation needs is projected without them, so they are few beside its budget.
    """
    return min(_AHEAD, budget() // 64)


def is_pressed() -> bool:
    """Whether this process has nearly all that it may use: what is only kept is let go first.

    dask pauses a worker at 0.8 of its limit, and nothing that it does then makes it smaller.
    """
    return resident() > 0.7 * limit()


def resident() -> int:
    """Bytes of memory that this process has now; 0 where the system does not tell (not Linux)."""
    return _statm(1)


def resident_files() -> int:
    """Bytes of these that are pages of files, or shared; 0 where the system does not tell."""
    return _statm(2)


def _statm(column: int) -> int:
    try:
        fd = os.open("/proc/self/statm", os.O_RDONLY)  # a file object takes three times as long
        try:
            pages = int(os.read(fd, 128).split()[column])
        finally:
            os.close(fd)
    except (OSError, IndexError, ValueError):
        return 0
    return pages * mmap.PAGESIZE


@contextmanager
def _supposing(count: int) -> Iterator[None]:
    token = _SUPPOSED.set(count)
    try:
        yield
    finally:
        _SUPPOSED.reset(token)


def enough_for(peak: Callable[[], int]) -> int:
    """A budget, in whole MiB, that an operation fits into.

    Caches and parts grow with the budget, so that what is needed now may not be enough then.

    Args:
        peak: Projects the operation: bytes by the budget of the moment.
    """
    count = budget()
    while (needed := _projected(peak, count)) > count:
        count = -(-needed // _MIB) * _MIB
    return count


def _projected(peak: Callable[[], int], supposed: int) -> int:
    with _supposing(supposed):
        return peak()


def raised_to(peak: Callable[[], int]) -> str:
    """The advice to raise the budget to what an operation fits into."""
    return f"raise the budget to {enough_for(peak) // _MIB} MiB"


def require(needed: int, what: str | Callable[[], str], instead: str | Callable[[], str]) -> None:
    """Refuse an operation whose projected peak exceeds the budget, before it starts.

    Args:
        needed: Projected peak in bytes.
        what: The operation, as the subject of a sentence. Guards stand before every read: where
            the text has to be made, a function makes it when it is needed.
        instead: What to do about it; or a function that finds out.

    Raises:
        MemoryBudgetError: If ``needed`` is more than the budget.
    """
    allowed = budget()
    _LOG.debug("projected peak: %d bytes of a budget of %d", needed, allowed)
    if needed > allowed:
        raise MemoryBudgetError(
            f"{what if isinstance(what, str) else what()} needs {format_bytes(needed)} of memory "
            f"and the budget is {format_bytes(allowed)} ({_origin()}); "
            f"{instead if isinstance(instead, str) else instead()}"
        )


def _origin() -> str:
    if settings.get("memory-budget") is not None:
        return "setting voxarray.memory-budget"
    bound = resource_limits.memory()
    return (
        f"half of {format_bytes(bound.value)}, {bound.origin}; the setting voxarray.memory-budget "
        "changes it"
    )


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """Memory and disk space of an image, in bytes; no voxel was read for it.

    Examples:
        >>> scan = vx.testing.sample()
        >>> report = scan.memory_report()
        >>> report.tensor == 64 * 56 * 48 * 2
        True

    Attributes:
        on_disk: Size of the file or archive; None where there is none.
        chunk: One block, the preferred part to read (`Image.chunks`).
        resident: Voxels that the image holds in memory now.
        tensor: The whole image as a tensor.
        projected_peak: Peak of ``load()``, above what the process uses already.
    """

    on_disk: int | None
    chunk: int
    resident: int
    tensor: int
    projected_peak: int

    def __str__(self) -> str:
        rows = self._rows()
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}  {value:>10}" for name, value in rows.items())

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        from voxarray.core.html_table import html_table

        return html_table("MemoryReport", self._rows())

    def _rows(self) -> dict[str, str]:
        disk = "not on disk" if self.on_disk is None else format_bytes(self.on_disk)
        return {
            "on disk": disk,
            "one chunk": format_bytes(self.chunk),
            "in memory now": format_bytes(self.resident),
            "as a tensor": format_bytes(self.tensor),
            "projected peak of load()": format_bytes(self.projected_peak),
        }
