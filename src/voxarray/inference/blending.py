"""The arithmetic of patches that overlap: one pass over each prediction."""

from __future__ import annotations

import torch

from voxarray.inference.cell_store import CellStore
from voxarray.inference.cell_weights import CellWeights
from voxarray.inference.patch_plan import PatchPlan

_RUN = 1 << 16
"""Numbers that are widened at once, for sums in float16."""


class Blender:
    """Adds predictions to the cells that they cover.

    Args:
        plan: The patches.
        weights: Their shares.
        store: The cells.
    """

    def __init__(self, plan: PatchPlan, weights: CellWeights, store: CellStore) -> None:
        self._plan, self._weights, self._store = plan, weights, store

    def add(self, number: int, prediction: torch.Tensor) -> None:
        """Add a prediction.

        Args:
            number: Of the patch.
            prediction: (K, w, h, d), float32 in RAM.
        """
        plan, store = self._plan, self._store
        store.begin(number)
        visit, start = plan.visit(number), plan.start(number)
        for cell in plan.cells(number):
            slices = tuple(
                slice(r.start - s, r.stop - s) for r, s in zip(plan.box(cell), start, strict=True)
            )
            piece = prediction[(slice(None), *slices)]
            share = torch.from_numpy(self._weights.share(cell, visit))
            is_new = plan.is_new(cell, number)
            sums = torch.from_numpy(store.new(cell) if is_new else store.get(cell))
            _add(sums, piece, share, is_new)


def _add(sums: torch.Tensor, piece: torch.Tensor, share: torch.Tensor, is_new: bool) -> None:
    """Add a piece (K, w, h, d), weighed by its share (w, h, d), to sums (K, w, h, d)."""
    if sums.dtype == torch.float32:
        torch.mul(piece, share, out=sums) if is_new else sums.addcmul_(piece, share)
        return
    # float16 is for storage alone: there and back is four times as fast as sums in it. A few
    # classes at a time stay in the processor's cache; all at once took twice the piece in memory.
    step = max(1, _RUN // share.numel())
    wide = torch.empty((min(step, len(piece)), *share.shape))
    for first in range(0, len(piece), step):
        part, target = piece[first : first + step], sums[first : first + step]
        numbers = wide[: len(part)]
        if is_new:
            torch.mul(part, share, out=numbers)
        else:
            numbers.copy_(target).addcmul_(part, share)
        target.copy_(numbers)
