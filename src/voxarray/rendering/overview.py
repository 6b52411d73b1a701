"""All of a volume in few bytes: the level of its pyramid that fits, else every n-th voxel."""

from __future__ import annotations

import math
from dataclasses import dataclass

from voxarray.core import settings
from voxarray.core.errors import MemoryBudgetError
from voxarray.core.memory import cache_limit, format_bytes
from voxarray.source.pieces import is_sequential
from voxarray.source.sliced import SlicedSource


@dataclass(frozen=True, slots=True)
class Overview:
    """What stands for a volume.

    Attributes:
        source: The voxels, placed where they belong.
        name: What they are of the volume, such as ``"level 1"``; empty for the volume itself.
    """

    source: SlicedSource
    name: str

    @classmethod
    def within(cls, source: SlicedSource, limit: int) -> Overview:
        """The finest that takes at most so many bytes; nothing is read.

        Args:
            source: The volume; a slice has no levels of its own.
            limit: Bytes of the voxels in their own type.

        Raises:
            MemoryBudgetError: If a file that is compressed as one piece would have to be decoded
                for it, and is too large to be kept (``ONE_PIECE``).
        """
        levels = source.levels if source.is_whole else 1
        for number in range(levels):
            level = source.level(number) if number else source
            if nbytes(level) <= limit:
                return cls(level, f"level {number}" if number else "")
        require_parts(source)
        coarsest = source.level(levels - 1) if levels > 1 else source
        steps = _steps(coarsest, limit)
        thinned = coarsest[(slice(None), *(slice(None, None, step) for step in steps))]
        of = f" of level {levels - 1}" if levels > 1 else ""
        return cls(thinned, f"1 of {' x '.join(map(str, steps))} voxels{of}")


def nbytes(sliced: SlicedSource) -> int:
    """Bytes of all voxels."""
    return math.prod(sliced.shape) * sliced.dtype.itemsize


def _steps(sliced: SlicedSource, limit: int) -> tuple[int, ...]:
    """Steps that leave voxels as wide in millimetres along all axes, as far as that goes."""
    spacing = sliced.grid.spacing
    wide = min(spacing)
    while True:
        steps = [
            max(1, min(n, round(wide / mm)))
            for n, mm in zip(sliced.shape[1:], spacing, strict=True)
        ]
        counts = [-(-n // step) for n, step in zip(sliced.shape[1:], steps, strict=True)]
        if math.prod(counts) * sliced.shape[0] * sliced.dtype.itemsize <= limit:
            return tuple(steps)
        if max(counts) == 1:
            raise MemoryBudgetError(
                f"one voxel of {sliced.shape[0]} channels is more than {format_bytes(limit)}: "
                "raise limit=, or take channels: image[:3, :, :, :]"
            )
        wide *= 1.05


def require_parts(source: SlicedSource) -> None:
    """Refuse what has to be decoded from its start, every time, to see any of it.

    Raises:
        MemoryBudgetError: If it is too large to be kept (``ONE_PIECE``).
    """
    size = nbytes(SlicedSource.of(source.base))
    limit = min(settings.get_bytes("gzip-whole-limit"), cache_limit())
    if is_sequential(source.base) and size > limit:
        raise MemoryBudgetError(
            f"the file is compressed as one piece, and {format_bytes(size)} would be decoded to "
            'see any of it: make an archive of it once, vx.convert(path, "scan.ome.zarr"), '
            "which needs little memory, and open the archive instead",
            code="ONE_PIECE",
            path=source.path,
        )
