"""Sizes of patches, as users give them, and where patches of a size fit."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from voxarray.core.errors import StateError
from voxarray.geometry.selection import Shape3

Size = int | Sequence[int]
"""One number for all axes, or one for each of W, H and D."""


def three(size: Size, name: str, least: int) -> Shape3:
    """Whole numbers along W, H and D.

    Raises:
        ValueError: Unless there are one or three, none below ``least``.
    """
    numbers: list[Any] = list(np.atleast_1d(np.asarray(size, object)))
    try:
        sizes = [operator.index(number) for number in numbers]
    except TypeError:
        sizes = []
    sizes = sizes * 3 if len(sizes) == 1 else sizes
    if len(sizes) != 3 or min(sizes) < least:
        what = "positive integers" if least else "integers of at least 0"
        raise ValueError(f"{name} must be one or three {what}, not {size!r}")
    return sizes[0], sizes[1], sizes[2]


def require_fit(patch: Shape3, shape: Shape3) -> None:
    """Raise StateError (``PATCH_TOO_LARGE``) unless a patch fits into a volume."""
    if any(p > n for p, n in zip(patch, shape, strict=True)):
        raise StateError(
            f"Patch size {patch} cannot be larger than image size {shape}: take smaller patches, "
            "or pad the image",
            code="PATCH_TOO_LARGE",
        )


def centres(patch: Shape3, shape: Shape3) -> tuple[range, range, range]:
    """Voxels that are the centre of a patch that fits; of an even size, the later of the middle."""
    require_fit(patch, shape)
    x, y, z = (range(p // 2, n - (p - 1) // 2) for p, n in zip(patch, shape, strict=True))
    return x, y, z
