"""Hypothesis strategies for images: affines, shapes and NumPy-like index expressions.

Example::

    @given(st.data(), affines(), shapes())
    def test_slicing(data, affine, shape):
        key = data.draw(index_expressions(shape))
        ...
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from voxarray.geometry.selection import Shape4

_ROTATIONS = ("aligned", "oblique")


@st.composite
def affines(
    draw: st.DrawFn,
    *,
    sheared: bool | None = None,
    min_spacing: float = 0.2,
    max_spacing: float = 6.0,
    max_offset: float = 300.0,
) -> NDArray[np.float64]:
    """(4, 4) voxel-to-world affines in RAS+ mm: aligned or oblique, flipped, anisotropic, sheared.

    They are well conditioned, so that laws can be checked to tight tolerances.

    Args:
        draw: Given by hypothesis.
        sheared: Whether voxel axes may lean; True for always, None for sometimes.
        min_spacing: Smallest distance between voxel centres, in mm.
        max_spacing: Largest distance between voxel centres, in mm.
        max_offset: Largest coordinate of the first voxel, in mm.
    """
    direction = draw(_orthogonal())
    if draw(st.booleans()) if sheared is None else sheared:
        direction = direction @ draw(_shears())
    spacing = [draw(_floats(min_spacing, max_spacing)) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = direction * spacing
    affine[:3, 3] = [draw(_floats(-max_offset, max_offset)) for _ in range(3)]
    return affine


def shapes(*, min_size: int = 1, max_size: int = 9, max_channels: int = 3) -> Any:
    """(C, W, H, D) with W, H and D from ``min_size`` to ``max_size`` voxels."""
    size = st.integers(min_size, max_size)
    return st.tuples(st.integers(1, max_channels), size, size, size)


def slices(size: int) -> st.SearchStrategy[slice]:
    """Slices of an axis of ``size`` voxels that select at least one: any step, either sign."""
    return st.slices(size).filter(lambda item: len(range(*item.indices(size))) > 0)


def integers(size: int) -> st.SearchStrategy[Any]:
    """Valid integer indices of an axis of ``size`` voxels: negative ones and NumPy's included."""
    plain = st.integers(-size, size - 1)
    return st.one_of(plain, plain.map(np.int64))


@st.composite
def index_expressions(draw: st.DrawFn, shape: Shape4, *, integer: bool = True) -> Any:
    """Whatever may stand in ``image[...]``, selecting at least one voxel.

    One to three items address (W, H, D) and four address (C, W, H, D); an ellipsis may stand
    anywhere among them.

    Args:
        draw: Given by hypothesis.
        shape: (C, W, H, D) of what is indexed.
        integer: Whether integers occur beside slices.
    """
    addressed = draw(st.sampled_from((3, 4)))
    axes = shape[-addressed:]
    # With four items all are named; an ellipsis then stands for none of them.
    count = 4 if addressed == 4 else draw(st.integers(0, 3))
    leading = draw(st.integers(0, count)) if draw(st.booleans()) else count
    trailing = count - leading
    sizes = axes[:leading] + axes[addressed - trailing :]
    items = [draw(_item(size, integer)) for size in sizes]
    if leading < count or count == 0 or draw(st.booleans()):
        items.insert(leading, Ellipsis)
    return items[0] if len(items) == 1 and draw(st.booleans()) else tuple(items)


def _item(size: int, integer: bool) -> st.SearchStrategy[Any]:
    return st.one_of(slices(size), integers(size)) if integer else slices(size)


def _floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, allow_infinity=False)


@st.composite
def _orthogonal(draw: st.DrawFn) -> NDArray[np.float64]:
    """(3, 3) axes in any order and of any sign, turned by any angle or not at all."""
    axes = np.eye(3)[:, draw(st.permutations(range(3)))]
    axes = axes * [draw(st.sampled_from((1.0, -1.0))) for _ in range(3)]
    if draw(st.sampled_from(_ROTATIONS)) == "aligned":
        return np.asarray(axes)
    for plane in ((0, 1), (1, 2), (0, 2)):
        angle = draw(_floats(-np.pi, np.pi))
        turn = np.eye(3)
        turn[np.ix_(plane, plane)] = [
            [np.cos(angle), -np.sin(angle)],
            [np.sin(angle), np.cos(angle)],
        ]
        axes = turn @ axes
    return np.asarray(axes)


@st.composite
def _shears(draw: st.DrawFn) -> NDArray[np.float64]:
    """(3, 3) upper triangular: gantry tilt and the like, up to about 20 degrees."""
    shear = np.eye(3)
    for row, column in ((0, 1), (0, 2), (1, 2)):
        shear[row, column] = draw(_floats(-0.35, 0.35))
    return shear
