"""Which way voxel axes point, and whether they span a volume.

Of three axes, arithmetic on nine numbers takes a tenth of the time of LAPACK. LAPACK decides where
that is not clear by far.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MIN_VOLUME = 1e-9
"""Smallest |det| of the unit-column matrix: below, voxel axes are not independent."""

_CLEAR = 1e-6
"""Square of a volume that is larger by far."""

_SMALL = 1e-60
"""Between this and its inverse, no square has vanished or overflowed."""

_ORTHOGONAL, _BY_FAR = 1e-6, 1e-3
"""Of cosines, and of differences between components of a unit vector."""


def span_volume(columns: NDArray[np.float64]) -> bool:
    """Whether the voxel axes are far from lying in one plane."""
    (a, b, c), (d, e, f), (g, h, i) = columns.tolist()
    volume = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    squared = (a * a + d * d + g * g) * (b * b + e * e + h * h) * (c * c + f * f + i * i)
    if _SMALL < squared < 1 / _SMALL and volume * volume > _CLEAR * squared:
        return True
    spacing = np.linalg.norm(columns, axis=0)
    return bool(spacing.all() and abs(np.linalg.det(columns / spacing)) >= _MIN_VOLUME)


def nearest_axes(direction: NDArray[np.float64]) -> list[tuple[int, int]]:
    """World axis and sign that each voxel axis is nearest to, each world axis used once.

    The rule is nibabel's ``io_orientation``: of the orthogonal matrix nearest to the direction,
    the largest component of one column after another, most decided column first.
    """
    if (clear := _clear_axes(direction)) is not None:
        return clear
    u, _, vh = np.linalg.svd(direction)
    rotation = u @ vh
    axes = [(0, 1)] * 3
    for axis in np.argsort(-(rotation**2).max(axis=0), kind="stable"):
        world = int(np.argmax(np.abs(rotation[:, axis])))
        axes[axis] = (world, 1 if rotation[world, axis] >= 0 else -1)
        rotation[world, :] = 0
    return axes


def _clear_axes(direction: NDArray[np.float64]) -> list[tuple[int, int]] | None:
    """As `nearest_axes`, without the orthogonal matrix; None where that might say otherwise.

    Columns that are orthogonal to a millionth are as close to those of the orthogonal matrix. If
    the largest component of each is so by far, and in another row, their order does not matter.
    """
    (a, b, c), (d, e, f), (g, h, i) = direction.tolist()
    cosines = a * b + d * e + g * h, a * c + d * f + g * i, b * c + e * f + h * i
    if not max(map(abs, cosines)) < _ORTHOGONAL:
        return None
    axes = []
    for column in ((a, d, g), (b, e, h), (c, f, i)):
        sizes = [abs(value) for value in column]
        largest = max(sizes)
        world = sizes.index(largest)
        if sorted(sizes)[1] > largest - _BY_FAR:
            return None
        axes.append((world, 1 if column[world] > 0 else -1))
    return axes if len({world for world, _ in axes}) == 3 else None
