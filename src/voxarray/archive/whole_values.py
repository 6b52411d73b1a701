"""Checks that the values of a label map are whole numbers, as labels must be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError
from voxarray.core.scaling import Scaling


def requiring_whole(
    convert: Callable[[NDArray], NDArray], scaling: Scaling | None, name: str, path: str | None
) -> Callable[[NDArray], NDArray]:
    """``convert``, with a check that the results are whole numbers.

    The pyramid takes a majority vote and viewers look values up in tables, so that 1.5 would be a
    label of its own, without a name.

    Args:
        convert: Makes stored voxels, of any shape.
        scaling: Turns stored voxels into values.
        name: Of the label map, for the error.
        path: Of its file, for the error; not that of the image, whose archive it goes into.

    Returns:
        The function. It raises `FormatError` (``FRACTIONAL_LABELS``).
    """

    def checked(block: NDArray) -> NDArray:
        voxels = convert(block)
        if scaling is not None or voxels.dtype.kind in "fc":
            values = voxels if scaling is None else scaling.apply(voxels)
            _require_whole(values, name, path)
        return voxels

    return checked


def _require_whole(values: NDArray, name: str, path: str | None) -> None:
    is_whole = np.isfinite(values) & (values == np.rint(values))
    if values.dtype.kind == "c":
        is_whole &= values.imag == 0
    if not is_whole.all():
        value = values[~is_whole][0].item()
        raise FormatError(
            f"the label map {name!r} holds {value}, and labels are whole numbers: round or "
            "threshold it first (vx.Lambda), or keep it as an image of its own (of a cohort, named "
            "by --image-pattern or image_patterns=)",
            code="FRACTIONAL_LABELS",
            path=path,
        )
