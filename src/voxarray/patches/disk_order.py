"""The order of `IterablePatchDataset`, for disks on which reading at random is slow: subject by
subject, and shard by shard in a subject.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.geometry.selection import Shape3
from voxarray.patches.randomness import ORDER, generator


@dataclass(frozen=True)
class Part:
    """Which share of all patches this is.

    Attributes:
        rank: Of the process group.
        ranks: Processes in the group.
        worker: Of this process's loader.
        workers: Of each loader.
    """

    rank: int = 0
    ranks: int = 1
    worker: int = 0
    workers: int = 1

    @property
    def number(self) -> int:
        """Of this share among all."""
        return self.rank * self.workers + self.worker


def indices_of(part: Part, subjects: int, patches: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Indices of the patches of a part; those of one subject are neighbours.

    Subjects come in random order. Ranks get equally many patches, some of them twice where their
    number does not divide, as `torch.utils.data.DistributedSampler` does; workers differ by one.

    Args:
        part: The share.
        subjects: Number of subjects.
        patches: Patches per subject.
        seed: Of the run.
        epoch: Which pass this is.
    """
    shuffled = generator(seed, epoch, 0, ORDER).permutation(subjects).astype(np.int64)
    indices = (shuffled[:, None] * patches + np.arange(patches)).reshape(-1)
    # Alike for all: a rank with fewer steps would leave the others waiting for its gradients.
    each = -(-len(indices) // part.ranks)
    of_rank = np.arange(part.rank * each, (part.rank + 1) * each) % max(len(indices), 1)
    split: NDArray[np.int64] = np.array_split(indices[of_rank], part.workers)[part.worker]
    return split


def by_subject(indices: NDArray[np.int64], patches: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Runs of indices of one subject, with its number."""
    numbers = indices // patches
    borders = np.flatnonzero(np.diff(numbers)) + 1
    for run in np.split(indices, borders):
        if len(run):
            yield int(run[0]) // patches, run


def by_shard(starts: Sequence[Shape3], shard: Shape3) -> list[int]:
    """Positions of patches in the order of the shards that they begin in, as these lie on disk."""

    def shard_of(position: int) -> tuple[int, int, int]:
        x, y, z = (s // n for s, n in zip(starts[position], shard, strict=True))
        return z, y, x

    return sorted(range(len(starts)), key=shard_of)
