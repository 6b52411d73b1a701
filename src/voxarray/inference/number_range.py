"""Whether what a network returns may be logits, where nobody has said what it is."""

from __future__ import annotations

from numpy.typing import NDArray

from voxarray.core.errors import ModelError


class NumberRange:
    """Looks at predictions until one shows that they are no probabilities.

    A network that ends in a sigmoid or softmax, taken for one that returns logits, would have its
    probabilities activated once more: all of them above a half, and every voxel in the class. Over
    a whole scan, logits leave the range from 0 to 1: the background is below it.

    Args:
        is_asked: Whether anything depends on it.
    """

    def __init__(self, is_asked: bool) -> None:
        self._is_open = is_asked
        self._largest = 0.0

    def add(self, numbers: NDArray) -> None:
        """Look at predictions (N, K, w, h, d)."""
        if not self._is_open:
            return
        low, high = float(numbers.min()), float(numbers.max())
        self._is_open = low >= 0 and high <= 1
        self._largest = max(self._largest, high)

    def require_logits(self, classes: int) -> None:
        """Refuse what looks like probabilities; of several classes zeros alone say nothing.

        Raises:
            ModelError: ``PROBABILITIES``.
        """
        if self._is_open and (classes == 1 or self._largest > 0):
            logits = "sigmoid" if classes == 1 else "softmax"
            raise ModelError(
                "all numbers that the model returned for this scan lie between 0 and 1, as "
                "probabilities do, and the default is to take them for logits: pass "
                f'activation="none" (--activation none) if they are probabilities, '
                f'or activation="{logits}" if they are logits',
                code="PROBABILITIES",
            )
