"""Whether two images are the same, as far as that is known without reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from voxarray.core.keys import AFFINE, DATA

if TYPE_CHECKING:
    from voxarray.image.image import Image


def same(one: Image, other: Image) -> bool:
    """What ``one == other`` says."""
    if one is other:
        return True
    if type(one) is not type(other) or (DATA in one) != (DATA in other):
        return False
    return _same_fields(one, other) and _same_voxels(one, other)


def _same_fields(one: Image, other: Image) -> bool:
    ours, theirs = (
        {key: value for key, value in image.items() if key not in (DATA, AFFINE)}
        for image in (one, other)
    )
    return ours.keys() == theirs.keys() and all(_equal(ours[k], theirs[k]) for k in ours)


def _same_voxels(one: Image, other: Image) -> bool:
    if DATA not in one:
        return one.source.token() == other.source.token()
    return one.grid == other.grid and np.array_equal(one.numpy(), other.numpy(), equal_nan=False)


def _equal(one: Any, other: Any) -> bool:
    # Metadata may hold arrays, for which == is not a bool.
    return one is other or (type(one) is type(other) and np.array_equal(one, other))
