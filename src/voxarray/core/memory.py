"""How much memory there is, how much an operation may use, and how much it will need.

Peak memory is projected before anything is read; a projection above the budget is an error that
says what to do instead, never an attempt.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from voxarray.core import settings
from voxarray.core.errors import MemoryBudgetError

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def format_bytes(count: int) -> str:
    """Bytes as people read them, for example ``"93.8 KiB"``."""
    size = float(count)
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def limit() -> int:
    """Bytes that this process may use: physical memory, or less by its cgroup or rlimit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in (
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ):
        text = _read(file)
        if text.isdigit():
            limits.append(int(text))
    limits.extend(_resource_limits())
    return min(n for n in limits if n > 0)


def budget() -> int:
    """Bytes that one operation may use: setting ``memory-budget``, by default half the limit."""
    if settings.get("memory-budget") is None:
        return limit() // 2
    return settings.get_bytes("memory-budget")


def cache_limit() -> int:
    """Bytes of decoded blocks that this process may keep.

    Setting ``block-cache``, but never more than a quarter of the budget: what an operation leaves
    in the cache counts as its memory, and it needs some besides.
    """
    return min(settings.get_bytes("block-cache"), budget() // 4)


def require(needed: int, what: str, instead: str) -> None:
    """Refuse an operation whose projected peak exceeds the budget, before it starts.

    Args:
        needed: Projected peak in bytes.
        what: The operation, as the subject of a sentence.
        instead: What to do about it.

    Raises:
        MemoryBudgetError: If ``needed`` is more than the budget.
    """
    allowed = budget()
    if needed > allowed:
        raise MemoryBudgetError(
            f"{what} needs {format_bytes(needed)} of memory and the budget is "
            f"{format_bytes(allowed)} (setting voxarray.memory-budget); {instead}"
        )


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """What an image costs, in bytes, without having read a voxel.

    Attributes:
        on_disk: Size of the file or archive; None where there is none.
        chunk: One block as it is read and decoded.
        resident: Voxels held now by the image itself.
        tensor: The whole image as a tensor.
        projected_peak: Peak of ``load()``, above what the process uses already.
    """

    on_disk: int | None
    chunk: int
    resident: int
    tensor: int
    projected_peak: int

    def __str__(self) -> str:
        disk = "not on disk" if self.on_disk is None else format_bytes(self.on_disk)
        rows = {
            "on disk": disk,
            "one chunk": format_bytes(self.chunk),
            "resident now": format_bytes(self.resident),
            "as a tensor": format_bytes(self.tensor),
            "projected peak of load()": format_bytes(self.projected_peak),
        }
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}  {value:>10}" for name, value in rows.items())


def _read(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError:  # not a cgroup of this version, or not Linux
        return ""


def _resource_limits() -> list[int]:
    try:
        import resource
    except ImportError:  # Windows has none
        return []
    return [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
