"""Checks that the values of a label map are whole numbers, as labels must be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from voxarray.core.caller_warnings import warn_by_code
from voxarray.core.dtype_names import dtype_name
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


def warn_of_floats(dtype: np.dtype, name: str, path: str | None) -> None:
    """Warn of a label map whose voxels are stored as floats (``FLOAT_LABELS``).

    OME-Zarr requires integers. Which type holds all values is known when the last voxel is read,
    and then the first ones are written.

    Args:
        dtype: Type of the stored voxels.
        name: Of the label map.
        path: Of its file.
    """
    if dtype.kind == "f":
        of = "" if path is None else f" of {path}"
        warn_by_code(
            "FLOAT_LABELS",
            f"the label map {name!r}{of} is stored as {dtype_name(dtype)}, as it was given: "
            f"{FLOAT_LABELS_ADVICE}",
        )


FLOAT_LABELS_ADVICE = (
    "OME-Zarr requires integers for labels, so other programs may refuse floats. The values are "
    "stored exactly. To store integers, first convert the label map to a type that holds the "
    "largest label (a smaller type changes labels without an error): "
    "vx.Lambda(lambda voxels: voxels.astype('int32'))"
)
"""What is said after a colon of label maps of floats."""


def _require_whole(values: NDArray, name: str, path: str | None) -> None:
    is_whole = np.isfinite(values) & (values == np.rint(values))
    if values.dtype.kind == "c":
        is_whole &= values.imag == 0
    if not is_whole.all():
        value = values[~is_whole][0].item()
        raise FormatError(
            f"the label map {name!r} holds {value}, but labels must be whole numbers: round or "
            "threshold it first (vx.Lambda), or convert it as an image of its own (in a cohort, "
            "name it with --image-pattern or image_patterns=)",
            code="FRACTIONAL_LABELS",
            path=path,
        )
