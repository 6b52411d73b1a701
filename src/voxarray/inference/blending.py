"""The arithmetic of patches that overlap: one pass over each prediction."""

from __future__ import annotations

import torch

from voxarray.inference.cell_store import CellStore
from voxarray.inference.cell_weights import CellWeights
from voxarray.inference.patch_plan import PatchPlan


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
            inside = tuple(
                slice(r.start - s, r.stop - s) for r, s in zip(plan.box(cell), start, strict=True)
            )
            piece = prediction[(slice(None), *inside)]
            share = torch.from_numpy(self._weights.share(cell, visit))
            is_new = plan.is_new(cell, number)
            sums = torch.from_numpy(store.new(cell) if is_new else store.get(cell))
            _add(sums, piece, share, is_new)


def _add(sums: torch.Tensor, piece: torch.Tensor, share: torch.Tensor, is_new: bool) -> None:
    if sums.dtype == torch.float32:
        torch.mul(piece, share, out=sums) if is_new else sums.addcmul_(piece, share)
    elif is_new:
        sums.copy_(piece * share)
    else:
        # float16 is for storage alone: there and back is four times as fast as sums in it.
        sums.copy_(sums.float().addcmul_(piece, share))
