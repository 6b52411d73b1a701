"""Whether predictions can be added to those that came before them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import StateError


def require_tensor(given: Any, what: str, shape: str) -> None:
    """Refuse what is no tensor, such as an array of NumPy.

    Raises:
        StateError: ``BAD_BATCH``.
    """
    if not hasattr(given, "detach"):  # torch is not imported for this
        raise StateError(
            f"{what} are of type {type(given).__name__}: expected a torch.Tensor {shape}; "
            "torch.from_numpy converts an array",
            code="BAD_BATCH",
        )


def require_convertible(batch: NDArray, dtype: np.dtype, *, may_be_rounded: bool) -> None:
    """Refuse a batch that loses fractions or signs in the type of the first one, or is too large.

    Args:
        batch: The predictions.
        dtype: Type of the volume.
        may_be_rounded: Whether whole numbers may be rounded, as floats are.

    Raises:
        StateError: ``BAD_BATCH``.
    """
    # NumPy calls it safe to make float64 of int64, of which it rounds those beyond 2^53.
    is_rounded = batch.dtype.kind in "iu" and dtype.kind == "f" and batch.itemsize >= dtype.itemsize
    if batch.dtype in (dtype, bool) or (np.can_cast(batch.dtype, dtype) and not is_rounded):
        return
    with np.errstate(invalid="ignore", over="ignore"):
        converted = batch.astype(dtype)
        if dtype.kind == "f" and (may_be_rounded or batch.dtype.kind == "f"):
            same = np.isfinite(converted) == np.isfinite(batch)
        elif is_rounded:  # compared as whole numbers: as floats, both would be rounded
            same = converted.astype(batch.dtype) == batch
        else:
            same = converted == batch
    if not same.all():
        raise StateError(
            f"the batch has type {batch.dtype}, but the first batch had {dtype}, which does not "
            "hold all values of this one: add predictions of one type",
            code="BAD_BATCH",
        )
