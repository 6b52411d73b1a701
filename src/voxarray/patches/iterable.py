"""Patches in the order of the disk, for `torch.utils.data.DataLoader`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from voxarray.patches.batches import Patch
from voxarray.patches.disk_order import Part, by_shard, by_subject, indices_of
from voxarray.patches.foreseen import PATCHES_AHEAD, Place
from voxarray.patches.patch_loader import PatchLoader
from voxarray.patches.randomness import ORDER, generator
from voxarray.patches.samplers import PatchSampler


class IterablePatchDataset(IterableDataset):
    """The same patches as `PatchDataset`, in an order that suits spinning disks and object stores.

    Subjects come in random order, the patches of a subject in the order of its shards on disk, and
    patches are drawn at random from a buffer of those already read. The patches are those of
    `PatchDataset`, each once in an epoch. Workers, and the ranks of an initialised
    `torch.distributed` group, draw different patches.

    Examples:
        >>> scan = vx.testing.sample()
        >>> patches = vx.IterablePatchDataset([vx.Subject(t1=scan)], vx.UniformSampler(16))
        >>> tuple(next(iter(patches))["t1"]["data"].shape)
        (1, 16, 16, 16)

    Args:
        subjects: As for `PatchDataset`.
        sampler: As for `PatchDataset`.
        patches_per_image: As for `PatchDataset`.
        transform: As for `PatchDataset`.
        seed: As for `PatchDataset`.
        shuffle_buffer: Number of patches in the buffer of each worker; 1 keeps the disk order.
    """

    def __init__(
        self,
        subjects: Sequence[Any],
        sampler: PatchSampler,
        patches_per_image: int = 1,
        transform: Callable[[Patch], Any] | None = None,
        seed: int = 0,
        shuffle_buffer: int = 64,
    ) -> None:
        if shuffle_buffer < 1:
            raise ValueError(f"shuffle_buffer must be at least 1, got {shuffle_buffer}")
        self._loader = PatchLoader(subjects, sampler, patches_per_image, transform, seed)
        self.shuffle_buffer = shuffle_buffer

    def __len__(self) -> int:
        return -(-self._loader.total // _part().ranks)

    def __iter__(self) -> Iterator[Any]:
        loader, part = self._loader, _part()
        random = generator(loader.seed, loader.epoch, 1 + part.number, ORDER)
        buffer: list[Any] = []
        for patch in self._in_order(part):
            buffer.append(patch)
            if len(buffer) >= self.shuffle_buffer:
                yield _pop_random(buffer, random)
        while buffer:
            yield _pop_random(buffer, random)

    def _in_order(self, part: Part) -> Iterator[Any]:
        loader = self._loader
        indices = indices_of(
            part, len(loader.subjects), loader.patches_per_image, loader.seed, loader.epoch
        )
        for number, run in by_subject(indices, loader.patches_per_image):
            positions = [loader.start(int(index)) for index in run]
            shard = loader.reading.reader(number).images[0].source.chunks[1:]
            numbers = by_shard([start for _, start in positions], shard)
            order = [(int(run[n]), positions[n]) for n in numbers]
            for done, (index, place) in enumerate(order, 1):
                upcoming = partial(_some, order, done, done + PATCHES_AHEAD)
                yield loader.read([index], [place], upcoming)[0]

    def _repr_html_(self) -> str:
        """A table of what was asked for, for notebooks."""
        return self._loader.html(type(self).__name__, shuffle_buffer=self.shuffle_buffer)

    def __repr__(self) -> str:
        return self._loader.text(type(self).__name__)

    @property
    def epoch(self) -> int:
        """Number of the current pass over the data."""
        return self._loader.epoch

    def set_epoch(self, epoch: int) -> None:
        """Begin another pass; call it before the loader's iterator is made."""
        self._loader.set_epoch(epoch)


def _some(order: Sequence[tuple[int, Place]], start: int, stop: int) -> Sequence[tuple[int, Place]]:
    return order[start:stop]


def _pop_random(buffer: list[Any], random: np.random.Generator) -> Any:
    """Remove and return a random patch; the last one moves to its index."""
    index = int(random.integers(len(buffer)))
    buffer[index], buffer[-1] = buffer[-1], buffer[index]
    return buffer.pop()


def _part() -> Part:
    info = get_worker_info()
    worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
    group = torch.distributed
    if group.is_available() and group.is_initialized():
        return Part(group.get_rank(), group.get_world_size(), worker, workers)
    return Part(0, 1, worker, workers)
