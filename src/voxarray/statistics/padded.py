"""Volumes with a border, by the name of what it holds; statistics of the volume are found first."""

from __future__ import annotations

from voxarray.core.caller_warnings import warn_caller
from voxarray.geometry.selection import Shape3
from voxarray.ops.fill_value import nearest_fill, require_fill
from voxarray.ops.padding import STATISTICS, Padded, checked_mode
from voxarray.source.base import Source


def padded(source: Source, before: Shape3, after: Shape3, mode: str | float) -> Padded:
    """A source with more voxels at the ends of its axes.

    Args:
        source: The volume; all of it is read now for a mode that is one of its statistics.
        before: Voxels in front of W, H and D.
        after: Voxels behind them.
        mode: As `checked_mode` takes it.

    Raises:
        UnsupportedError: If it is a number that voxels of this type cannot have (``OUT_OF_TYPE``).
    """
    checked = checked_mode(mode)
    if not isinstance(checked, str):
        require_fill(checked, source.dtype, cut=True)
        checked = checked if source.dtype.kind != "b" else nearest_fill(checked, source.dtype)
        return Padded(source, before, after, constant=checked)
    if checked in STATISTICS:
        return Padded(source, before, after, constant=_statistic(source, checked))
    if checked in ("constant", "empty"):
        return Padded(source, before, after)
    return Padded(source, before, after, checked)


def _statistic(source: Source, mode: str) -> float:
    from voxarray.statistics.measure import statistics_of

    if mode in ("mean", "median") and source.dtype.kind != "f":
        warn_caller(
            f"the {mode} that is used as padding becomes a whole number, since the voxels are "
            f"{source.dtype}: convert the image to floating-point numbers first if that matters",
            RuntimeWarning,
        )
    value = float(getattr(statistics_of(source), mode))
    return value if source.dtype.kind not in "biu" else nearest_fill(value, source.dtype)
