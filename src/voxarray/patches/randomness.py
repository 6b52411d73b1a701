"""Randomness as a function: of a seed, an epoch and an index, and of nothing else.

Philox makes its numbers from a key and a counter, so the numbers of any index are at hand without
those before it: the same index gives the same patch in any process, for any number of workers, and
a run resumes anywhere.
"""

from __future__ import annotations

import operator

import numpy as np

_WORDS = 1 << 64

PATCHES, ORDER, AUGMENTATION = range(3)
"""What numbers are for; two purposes share none."""


def generator(seed: int, epoch: int, index: int, purpose: int = PATCHES) -> np.random.Generator:
    """The random numbers of one index.

    Raises:
        ValueError: For a number below 0, or one that needs more than 64 bits.
    """
    seed, epoch, index = (operator.index(number) for number in (seed, epoch, index))
    for name, number in (("seed", seed), ("epoch", epoch), ("index", index)):
        if not 0 <= number < _WORDS:
            raise ValueError(f"{name} must be between 0 and 2**64 - 1, got {number}")
    # Draws count in the first word; index and epoch are in words of their own.
    counter = np.array([0, index, epoch, 0], np.uint64)
    return np.random.Generator(
        np.random.Philox(counter=counter, key=np.array([seed, purpose], np.uint64))
    )


def seed_of(seed: int, epoch: int, index: int) -> int:
    """A seed (63 bits) for what draws its own numbers, such as an augmentation of one patch."""
    return int(generator(seed, epoch, index, AUGMENTATION).integers(0, 1 << 63))
