"""Whether named images agree in their geometry, and what to say if they do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import StateError
from voxarray.geometry.grid import SAME_GRID_TOLERANCE
from voxarray.geometry.grid_difference import difference
from voxarray.geometry.selection import Selection
from voxarray.image._geometry import GeometryMixin

Images = Mapping[str, GeometryMixin]

_RESAMPLE = (
    "resample all of them onto one image first; or, if only the headers are wrong, set the same "
    "affine"
)


def require_sliced_alike(images: Images, key: Any) -> None:
    """Raise StateError (``GRIDS_DIFFER``) if a slice of all images would lie at several places.

    A selection of channels only, or of everything, means the same on any grid.

    Args:
        images: At least one.
        key: What stands in brackets.

    Raises:
        IndexError, TypeError, ValueError: If a key does not fit an image.
    """
    if all(
        Selection.whole(image.shape)[key].is_all_space_of(image.shape) for image in images.values()
    ):
        return
    first = next(iter(images))
    require_same(images, "spatial_shape", 0, 0)
    require_same_grid(
        images,
        "the same index is a different place in each image. Resample all onto one, "
        f"vx.Resample({first!r})(subject), or slice the images one by one, subject[{first!r}][...]",
    )


def same_grid(images: Images, tolerance: float = SAME_GRID_TOLERANCE) -> bool:
    """Whether the voxels of all images are at the same places, to a number of voxels."""
    first, *others = (image.grid for image in images.values())
    return all(first.isclose(other, tolerance) for other in others)


def require_same_grid(images: Images, advice: str = _RESAMPLE) -> None:
    """Raise StateError (``GRIDS_DIFFER``) unless `same_grid`.

    Args:
        images: At least one.
        advice: What to do about it.
    """
    if not same_grid(images):
        grids = {name: image.grid for name, image in images.items()}
        first, *others = grids.values()
        raise _differing("grid", grids, advice, difference(first, *others))


def require_same(images: Images, attribute: str, relative: float, absolute: float) -> None:
    """Raise StateError (``GRIDS_DIFFER``) unless a property of all images is the same.

    Args:
        images: At least one.
        attribute: Name of the property.
        relative: Relative difference that is allowed, as ``rtol`` of ``numpy.allclose``.
        absolute: Absolute difference that is allowed, as ``atol``.
    """
    values = {name: getattr(image, attribute) for name, image in images.items()}
    first, *others = (np.asarray(value) for value in values.values())
    if not all(_close(other, first, relative, absolute) for other in others):
        raise _differing(attribute, values, "check which files belong together")


def _close(first: NDArray, second: NDArray, relative: float, absolute: float) -> bool:
    if (
        first.shape != second.shape
        or first.dtype.kind not in "biuf"
        or second.dtype.kind not in "biuf"
    ):
        return bool(np.array_equal(first, second))
    return bool(np.allclose(first, second, rtol=relative, atol=absolute))


def _differing(
    attribute: str, values: Mapping[str, Any], advice: str, difference: str = ""
) -> StateError:
    rows = "\n".join([*(f"{name}: {value}" for name, value in values.items()), difference]).rstrip()
    return StateError(
        f'More than one value for "{attribute}" found in subject images; {advice}:\n{rows}',
        code="GRIDS_DIFFER",
    )
