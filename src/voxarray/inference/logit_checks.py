"""Numbers that sums and reductions cannot take: NaN, infinity, and what is too large."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from voxarray.core.errors import ModelError


def require_at_most(largest: float, logits: torch.Tensor, where: Callable[[], str]) -> None:
    """Refuse logits that sums in float16 cannot hold.

    Args:
        largest: Size of the largest number that they hold.
        logits: (N, K, w, h, d), float32 in RAM.
        where: Names the patches, for messages.

    Raises:
        ModelError: ``LARGE_PREDICTION``.
    """
    # Not `abs`, which is a copy of all of it: 390 MiB for 117 classes of 96^3.
    size = max(-float(logits.min()), float(logits.max()))
    if size > largest:
        raise ModelError(
            f"the model returned {size:g} for {where()}, but sums in float16 hold {largest:g} at "
            "most: pass accumulate='float32'",
            code="LARGE_PREDICTION",
        )


def require_float32(logits: torch.Tensor, where: Callable[[], str]) -> None:
    """Refuse logits that would become infinite in float32, in which they are summed.

    Args:
        logits: (N, K, w, h, d) as the model returned them, on any device; only float64 is looked
            at.
        where: Names the patches, for messages.

    Raises:
        ModelError: ``LARGE_PREDICTION``.
    """
    if logits.dtype != torch.float64:
        return
    largest = torch.finfo(torch.float32).max
    for row in (row for prediction in logits for row in prediction):
        sizes = row.abs()
        if bool(((sizes > largest) & torch.isfinite(row)).any()):
            size = float(sizes[torch.isfinite(row)].max())
            raise ModelError(
                f"the model returned numbers of up to {size:g} for {where()}, and they are summed "
                f"in float32, which holds {largest:g} at most: let it return smaller numbers",
                code="LARGE_PREDICTION",
            )


def require_numbers(
    logits: torch.Tensor,
    patches: Callable[[], NDArray[np.float32]],
    where: Callable[[], str],
    may_be_infinite: bool,
) -> None:
    """Refuse logits that are NaN, or infinite where they would become NaN.

    Args:
        logits: (N, K, w, h, d), float32 in RAM.
        patches: What the network was given, looked at if NaN came back.
        where: Names them, for messages.
        may_be_infinite: Whether infinity stays what it is, for nothing is interpolated.

    Raises:
        ModelError: ``NAN_PREDICTION`` or ``INFINITE_PREDICTION``.
    """
    # A sum is four times as fast as a look at each number, and finite unless one of them is not.
    if torch.isfinite(logits.sum(dtype=torch.float32)):
        return
    # Class by class, for the answer is as large as the question.
    rows = [row for prediction in logits for row in prediction]
    if any(bool(torch.isnan(row).any()) for row in rows):
        if not np.isfinite(patches()).all():
            raise ModelError(
                f"the model returned NaN for {where()}, whose voxels themselves have NaN or "
                "infinity: pass a preprocess= that replaces these values",
                code="NAN_PREDICTION",
            )
        raise ModelError(
            f"the model returned NaN for {where()}: check its weights and the intensities that it "
            "was given, or try amp=False",
            code="NAN_PREDICTION",
        )
    if not may_be_infinite and any(
        bool(torch.isinf(row).any()) for row in rows
    ):  # which a weight of 0 makes NaN
        raise ModelError(
            f"the model returned infinity for {where()}: where it rules a class out, let it return "
            "a number such as -1e9",
            code="INFINITE_PREDICTION",
        )
