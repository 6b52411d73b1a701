"""Whether two images are the same, as far as that is known without reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from voxarray.core.keys import AFFINE, DATA

if TYPE_CHECKING:
    from voxarray.image.image import Image


def same(first: Image, second: Image) -> bool:
    """What ``first == second`` says."""
    if first is second:
        return True
    if type(first) is not type(second) or (DATA in first) != (DATA in second):
        return False
    return _same_fields(first, second) and _same_voxels(first, second)


def _same_fields(first: Image, second: Image) -> bool:
    first_fields, second_fields = (
        {key: value for key, value in image.items() if key not in (DATA, AFFINE)}
        for image in (first, second)
    )
    return first_fields.keys() == second_fields.keys() and all(
        _equal(first_fields[k], second_fields[k]) for k in first_fields
    )


def _same_voxels(first: Image, second: Image) -> bool:
    if DATA not in first:
        return first.source.token() == second.source.token()
    return first.grid == second.grid and np.array_equal(
        first.numpy(), second.numpy(), equal_nan=False
    )


def _equal(first: Any, second: Any) -> bool:
    # Metadata may hold arrays, for which == is not a bool.
    return first is second or (type(first) is type(second) and np.array_equal(first, second))
