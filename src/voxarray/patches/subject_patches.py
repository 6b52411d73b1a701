"""Patches that are read of subjects which stay open."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from voxarray.core import thread_pools
from voxarray.core.keys import AFFINE, DATA
from voxarray.geometry.selection import Shape3
from voxarray.ops.padding import Border
from voxarray.patches.batches import Patch, batches, in_a_worker
from voxarray.patches.reading import SubjectReader
from voxarray.patches.samplers import LOCATION
from voxarray.subject import Subject

KEPT = 1024
"""Subjects that a process keeps open: what is kept is metadata and counts, no voxels."""


class Reading:
    """Subjects that have been opened, and patches that are read of them."""

    def __init__(self, subjects: Sequence[Any]) -> None:
        self.subjects = subjects
        self._readers: OrderedDict[int, SubjectReader] = OrderedDict()

    def __getstate__(self) -> Sequence[Any]:
        return self.subjects  # a process opens files for itself

    def __setstate__(self, subjects: Sequence[Any]) -> None:
        self.__init__(subjects)  # type: ignore[misc]  # there is nothing else to set

    def subject(self, number: int) -> Subject:
        return Subject.of(self.subjects[number])

    def reader(self, number: int) -> SubjectReader:
        reader = self._readers.get(number)
        if reader is None:
            if in_a_worker():
                thread_pools.work_alone()
            reader = self._readers[number] = SubjectReader(self.subject(number))
            while len(self._readers) > KEPT:
                self._readers.popitem(last=False)
        return reader

    def opened(self, number: int) -> SubjectReader | None:
        """The reader of a subject that is open."""
        return self._readers.get(number)

    def patches(
        self,
        positions: Sequence[tuple[int, Sequence[int]]],
        size: Shape3,
        padding: Border | None = None,
        shared: bool = False,
    ) -> list[Patch]:
        """Read patches, given by subject and first voxel, into one memory where they allow it."""
        readers = [self.reader(number) for number, _ in positions]
        memory = batches([reader.layout() for reader in readers], size, shared)
        patches = []
        for (_, start), reader, tensors in zip(positions, readers, memory, strict=True):
            reader.read(start, [tensor.numpy() for tensor in tensors], padding)
            patches.append(_patch(reader, start, size, tensors, padding))
        return patches


def _patch(
    reader: SubjectReader,
    start: Sequence[int],
    size: Shape3,
    tensors: Sequence[torch.Tensor],
    padding: Border | None,
) -> Patch:
    patch = Patch(reader.facts)
    for image, tensor in zip(reader.images, tensors, strict=True):
        affine = reader.affine(start, padding)
        patch[image.name] = {DATA: tensor, AFFINE: affine, **image.facts}
    stop = [s + n for s, n in zip(start, size, strict=True)]
    patch[LOCATION] = torch.from_numpy(np.array([*start, *stop], np.int64))
    return patch


class SubjectPatches(Dataset):
    """Patches of one subject by index: what `GridSampler` is made of.

    Args:
        subject: Images on one grid.
    """

    def __init__(self, subject: Subject) -> None:
        self._reading = Reading([subject])

    @property
    def subject(self) -> Subject:
        """The subject that patches are taken from."""
        return self._reading.subject(0)

    def _read(self, starts: Sequence[Shape3], size: Shape3, padding: Border | None) -> list[Patch]:
        positions = [(0, start) for start in starts]
        shared = in_a_worker() and len(positions) > 1
        return self._reading.patches(positions, size, padding, shared)
