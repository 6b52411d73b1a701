"""A trained network over volumes of any size, and what its predictions are worth.

Patches are predicted in an order that finishes regions early. What is finished is brought back to
the scan's own grid, reduced to labels or probabilities and written, so that memory depends on the
patches and the budget, not on the volume or the number of classes.
"""

from __future__ import annotations

from voxarray.inference.evaluate import evaluate
from voxarray.inference.infer import infer

__all__ = ["evaluate", "infer"]
