"""What becomes of finished logits: labels, probabilities, or the numbers as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from voxarray.core.errors import ModelError

OUTPUTS = ("labels", "probabilities", "logits", "regression")
ACTIVATIONS = ("softmax", "sigmoid", "none")

_RUN = 1 << 15
"""Voxels that are reduced at once, so that they stay in the processor's cache."""


@dataclass(frozen=True)
class Reduction:
    """How the numbers of all classes of a voxel become its output.

    Attributes:
        output: One of `OUTPUTS`.
        activation: One of `ACTIVATIONS`: what makes probabilities of logits.
        threshold: Least probability of a label; None for none.
        values: Label of each class; None for their numbers.
        dtype: Of the output.
        is_assumed: Whether nobody said what the numbers are, and the output depends on it.
    """

    output: str
    activation: str
    threshold: float | None
    values: tuple[int, ...] | None
    dtype: np.dtype
    is_assumed: bool = False

    @property
    def is_one_label(self) -> bool:
        """Whether each voxel gets one label of several."""
        return self.output == "labels" and self.activation != "sigmoid"

    def channels(self, classes: int) -> int:
        """Channels of the output."""
        return 1 if self.is_one_label else classes

    def background(self, classes: int) -> NDArray:
        """(channels,) what a voxel becomes that the network has not seen: nothing, for certain."""
        voxel = np.zeros(self.channels(classes), self.dtype)
        if self.output == "probabilities" and self.activation == "softmax":
            voxel[0] = 255 if self.dtype == np.uint8 else 1
        return voxel

    def __call__(self, numbers: NDArray) -> NDArray:
        """The output of some voxels.

        Args:
            numbers: (K, ...), float16 or float32, C-contiguous.

        Returns:
            (channels, ...) of `dtype`; new memory.
        """
        classes = len(numbers)
        flat = numbers.reshape(classes, -1)
        out = np.empty((self.channels(classes), flat.shape[1]), self.dtype)
        for start in range(0, flat.shape[1], _RUN):
            run = slice(start, start + _RUN)
            self._reduce(flat[:, run], out[:, run])
        return out.reshape(-1, *numbers.shape[1:])

    def _reduce(self, numbers: NDArray, out: NDArray) -> None:
        if self.is_one_label and len(numbers) > 1:
            out[0] = self._labels(numbers)
            return
        numbers = numbers.astype(np.float32, copy=False)
        if self.output in ("logits", "regression"):
            _store(numbers, out)
        elif self.output == "labels":
            out[...] = self._activated(numbers) >= self._cutoff
            if len(out) == 1 and self.values is not None:
                out *= self.dtype.type(self.values[0])
        elif self.dtype == np.uint8:
            _store(np.rint(self._activated(numbers) * np.float32(255)), out)
        else:
            _store(self._activated(numbers), out)

    @property
    def _cutoff(self) -> np.float32:
        return np.float32(0.5 if self.threshold is None else self.threshold)

    def _labels(self, numbers: NDArray) -> NDArray:
        best, label = _largest(numbers)
        if self.values is not None:
            label = np.asarray(self.values, self.dtype)[label]
        if self.threshold is not None:
            probability = best
            if self.activation == "softmax":
                differences = np.subtract(numbers, best, dtype=np.float32)
                probability = 1 / np.exp(differences, out=differences).sum(axis=0)
            label[probability < self._cutoff] = 0  # background, whatever the classes are
        return label

    def _activated(self, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.activation == "none":
            return numbers
        if self.activation == "sigmoid":
            from scipy.special import expit

            result: NDArray[np.float32] = expit(numbers)
            return result
        powers: NDArray[np.float32] = np.exp(numbers - numbers.max(axis=0))
        powers /= powers.sum(axis=0)
        return powers


def _store(numbers: NDArray[np.float32], out: NDArray) -> None:
    """Copy numbers into their type, in which large ones would be infinite, or begin at 0 again.

    Raises:
        ModelError: ``LARGE_PREDICTION`` if float16 is too small, ``BAD_PREDICTION`` if what the
            model calls probabilities are none.
    """
    if out.dtype != np.float32 and numbers.size:
        low, high = float(numbers.min()), float(numbers.max())
        if out.dtype == np.uint8 and not 0 <= low <= high <= 255:
            raise ModelError(
                f"the model returned numbers from {low / 255:g} to {high / 255:g}, and "
                "uint8 can only hold probabilities, from 0 to 1: pass another activation than "
                "'none', or another dtype than uint8",
                code="BAD_PREDICTION",
            )
        largest = float(np.finfo(np.float16).max)
        if out.dtype == np.float16 and max(-low, high) > largest:
            raise ModelError(
                f"the prediction holds {high if high > -low else low:g}, and float16 holds "
                f"{largest:g} at most: pass dtype='float32'",
                code="LARGE_PREDICTION",
            )
    out[...] = numbers


def _largest(numbers: NDArray) -> tuple[NDArray[np.float32], NDArray]:
    """The largest number of each voxel and the first class that has it; five times `argmax`."""
    best = numbers[0].astype(np.float32)
    dtype = np.dtype(np.uint8 if len(numbers) <= 256 else np.uint16)
    label = np.zeros(best.shape, dtype)
    mark = np.empty(best.shape, dtype)
    # Row by row, and by torch, float16 becomes float32 in a third of the time.
    wide = np.empty(best.shape, np.float32)
    for number in range(1, len(numbers)):
        row = numbers[number]
        if row.dtype != np.float32:
            torch.from_numpy(wide).copy_(torch.from_numpy(row))
            row = wide
        # Later classes have larger numbers: the last that was an improvement is the largest.
        np.multiply(row > best, dtype.type(number), out=mark, casting="unsafe")
        np.maximum(label, mark, out=label)
        np.maximum(best, row, out=best)
    return best, label
