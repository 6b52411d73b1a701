"""By how much grids differ, in words."""

from __future__ import annotations

from voxarray.geometry.grid import SAME_GRID_TOLERANCE, Grid


def difference(grid: Grid, *others: Grid) -> str:
    """By how much others differ from a grid, in words; empty if none has its shape.

    Rounded to what a grid prints, the numbers of two grids may be the same.
    """
    distances = [float(grid.shifts(other).max()) for other in others if other.shape == grid.shape]
    if not distances:
        return ""
    return (
        f"their voxels are up to {max(distances):.3g} voxels apart, but only "
        f"{SAME_GRID_TOLERANCE:g} are allowed"
    )
