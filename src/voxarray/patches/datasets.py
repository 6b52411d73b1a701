"""Patches for `torch.utils.data.DataLoader`, which asks for classes of torch: hence torch is
imported here.

A batch is read into its own memory, in the files' order (B, C, D, H, W), seen as (B, C, W, H, D);
in a worker that memory is shared with the main process, so that voxels are copied once between the
archive and the batch. `torch.utils.data.default_collate` learns here how to see that a batch is
already one.
"""

from __future__ import annotations

import math
import operator
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info
from torch.utils.data._utils.collate import collate, default_collate_fn_map

from voxarray import workers
from voxarray.errors import OutOfRangeError
from voxarray.image.keys import AFFINE, DATA
from voxarray.patches.draws import Draw
from voxarray.patches.order import Part, by_shard, by_subject, indices_of
from voxarray.patches.padding import Padding
from voxarray.patches.randomness import ORDER, generator, seed_of
from voxarray.patches.reading import Layout, SubjectReader
from voxarray.patches.samplers import LOCATION, PatchSampler
from voxarray.selection import Shape3
from voxarray.subject import Subject

Transform = Callable[["Patch"], Any]

_KEPT = 1024
"""Subjects that a process keeps open: what is kept is metadata and counts, no voxels."""


class Patch(dict[str, Any]):
    """Voxels of one box of a subject: images by name, ``"location"``, and fields of the subject.

    An image is a dict with ``"data"`` (C, W, H, D), ``"affine"`` (4, 4) of the patch, ``"path"``,
    ``"stem"`` and ``"type"``.
    """


class _Reading:
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
                workers.work_alone()
            reader = self._readers[number] = SubjectReader(self.subject(number))
            while len(self._readers) > _KEPT:
                self._readers.popitem(last=False)
        return reader

    def patches(
        self,
        places: Sequence[tuple[int, Sequence[int]]],
        size: Shape3,
        padding: Padding | None = None,
        shared: bool = False,
    ) -> list[Patch]:
        """Read patches, given by subject and first voxel, into one memory where they allow it."""
        readers = [self.reader(number) for number, _ in places]
        memory = _batches([reader.layout() for reader in readers], size, shared)
        patches = []
        for (_, start), reader, tensors in zip(places, readers, memory, strict=True):
            reader.read(start, [tensor.numpy() for tensor in tensors], padding)
            patches.append(_patch(reader, start, size, tensors, padding))
        return patches


def _patch(
    reader: SubjectReader,
    start: Sequence[int],
    size: Shape3,
    tensors: Sequence[torch.Tensor],
    padding: Padding | None,
) -> Patch:
    patch = Patch(reader.facts)
    for one, tensor in zip(reader.images, tensors, strict=True):
        affine = reader.affine(start, padding)
        patch[one.name] = {DATA: tensor, AFFINE: affine, **one.facts}
    stop = [s + n for s, n in zip(start, size, strict=True)]
    patch[LOCATION] = torch.tensor([*start, *stop], dtype=torch.int64)
    return patch


class SubjectPatches(Dataset):
    """Patches of one subject by index: what `GridSampler` is made of.

    Args:
        subject: Images on one grid.
    """

    def __init__(self, subject: Subject) -> None:
        self._reading = _Reading([subject])

    @property
    def subject(self) -> Subject:
        """What patches are taken from."""
        return self._reading.subject(0)

    def _read(self, starts: Sequence[Shape3], size: Shape3, padding: Padding | None) -> list[Patch]:
        places = [(0, start) for start in starts]
        shared = in_a_worker() and len(places) > 1
        return self._reading.patches(places, size, padding, shared)


# --- Memory of batches ----------------------------------------------------------------------------


def in_a_worker() -> bool:
    """Whether this process works for a `DataLoader`."""
    return get_worker_info() is not None


def _batches(layouts: Sequence[Layout], size: Shape3, shared: bool) -> list[list[torch.Tensor]]:
    """For each patch, one tensor (C, W, H, D) per image: of one memory where all are alike."""
    if any(layout != layouts[0] for layout in layouts):
        return [_batches([layout], size, shared)[0] for layout in layouts]
    w, h, d = size
    count = len(layouts)
    batches = [
        _allocate((count, channels, d, h, w), getattr(torch, dtype), shared)
        for _, channels, dtype in layouts[0]
    ]
    return [[batch[number].permute(0, 3, 2, 1) for batch in batches] for number in range(count)]


def _allocate(shape: Sequence[int], dtype: torch.dtype, shared: bool) -> torch.Tensor:
    """Uninitialised memory, which another process may see if it is shared."""
    if not shared:
        # Ready for an asynchronous copy to the graphics card, where there is one.
        return torch.empty(tuple(shape), dtype=dtype, pin_memory=_pins())
    # As torch's own `default_collate` does.
    size = math.prod(shape) * dtype.itemsize
    storage = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]
    tensor: torch.Tensor = torch.empty(0, dtype=dtype)
    tensor.set_(storage, 0, tuple(shape))  # type: ignore[call-overload]
    return tensor


def _pins() -> bool:
    return not in_a_worker() and torch.cuda.is_available()


def _stacked(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Tensors (C, W, H, D) of one shape as (B, C, W, H, D), in the memory order that they have."""
    first = tensors[0]
    if _lie_in_a_row(tensors):
        return first.as_strided(
            (len(tensors), *first.shape), (first.numel(), *first.stride()), first.storage_offset()
        )
    c, w, h, d = first.shape
    out = _allocate((len(tensors), c, d, h, w), first.dtype, shared=in_a_worker())
    return torch.stack([t.permute(0, 3, 2, 1) for t in tensors], out=out).permute(0, 1, 4, 3, 2)


def _lie_in_a_row(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether tensors are the parts of one batch, one after another."""
    first = tensors[0]
    memory, begin = first.untyped_storage().data_ptr(), first.storage_offset()
    return all(
        tensor.untyped_storage().data_ptr() == memory
        and tensor.storage_offset() == begin + number * first.numel()
        and tensor.stride() == first.stride()
        for number, tensor in enumerate(tensors)
    )


def _collate_patches(batch: Sequence[Patch], *, collate_fn_map: Any = None) -> dict[str, Any]:
    return {
        key: _collate_field([patch[key] for patch in batch], collate_fn_map) for key in batch[0]
    }


def _collate_field(values: Sequence[Any], collate_fn_map: Any) -> Any:
    first = values[0]
    if not isinstance(first, dict) or not _are_alike([value.get(DATA) for value in values]):
        return collate(values, collate_fn_map=collate_fn_map)
    rest = [{k: v for k, v in value.items() if k != DATA} for value in values]
    data = _stacked([value[DATA] for value in values])
    return {DATA: data, **collate(rest, collate_fn_map=collate_fn_map)}


def _are_alike(tensors: Sequence[Any]) -> bool:
    """Whether these are plain tensors (C, W, H, D) of one shape and type in memory order zyx."""
    first = tensors[0]
    return all(
        type(tensor) is torch.Tensor
        and tensor.ndim == 4
        and tensor.shape == first.shape
        and tensor.dtype == first.dtype
        and tensor.device.type == "cpu"
        and tensor.permute(0, 3, 2, 1).is_contiguous()
        for tensor in tensors
    )


default_collate_fn_map[Patch] = _collate_patches


# --- Datasets -------------------------------------------------------------------------------------


class _Drawn:
    """Patches that a sampler draws from subjects, by index; what both datasets are made of."""

    def __init__(
        self,
        subjects: Sequence[Any],
        sampler: PatchSampler,
        patches_per_image: int,
        transform: Transform | None,
        seed: int,
    ) -> None:
        if patches_per_image < 1:
            raise ValueError(f"patches_per_image must be at least 1, got {patches_per_image}")
        generator(seed, 0, 0)  # refuses a seed that is none
        self.sampler = sampler
        self.patches_per_image = patches_per_image
        self.transform = transform
        self.seed = seed
        self.reading = _Reading(subjects)
        self._draws: OrderedDict[int, Draw] = OrderedDict()
        # Shared memory: persistent workers see it when the main process begins an epoch.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_draws": OrderedDict()}

    @property
    def epoch(self) -> int:
        """Which pass over the data is drawn; the same index gives another patch in each."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Begin another pass; to be called before the loader is asked for its iterator."""
        generator(self.seed, epoch, 0)
        self._epoch.fill_(epoch)

    @property
    def subjects(self) -> Sequence[Any]:
        """What patches are drawn from."""
        return self.reading.subjects

    @property
    def total(self) -> int:
        """Patches in an epoch."""
        return len(self.subjects) * self.patches_per_image

    def start(self, index: int) -> tuple[int, Shape3]:
        """Subject and first voxel of the patch of an index."""
        number = index // self.patches_per_image
        draw = self._draws.get(number)
        if draw is None:
            draw = self._draws[number] = self.sampler.draw(self.reading.subject(number))
            while len(self._draws) > _KEPT:
                self._draws.popitem(last=False)
        return number, draw.start(generator(self.seed, self.epoch, index))

    def read(self, indices: Sequence[int], places: Sequence[tuple[int, Shape3]]) -> list[Any]:
        """Patches of indices at places, transformed."""
        shared = in_a_worker() and len(indices) > 1 and self.transform is None
        patches = self.reading.patches(places, self.sampler.patch_size, shared=shared)
        if self.transform is None:
            return patches
        transform = self.transform
        return [self._transformed(transform, p, i) for p, i in zip(patches, indices, strict=True)]

    def _transformed(self, transform: Transform, patch: Patch, index: int) -> Any:
        """What the transform makes of a patch, with random numbers that depend on the index."""
        seed = seed_of(self.seed, self.epoch, index)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if hasattr(transform, "set_random_state"):
                transform.set_random_state(seed % (1 << 32))
            return transform(patch)


class PatchDataset(Dataset):
    """Patches of subjects, by index, for a `torch.utils.data.DataLoader`.

    Patch ``i`` belongs to subject ``i // patches_per_image``, and where it lies depends on nothing
    but seed, epoch and ``i``: not on workers, not on the patches before. An item reads as
    TorchIO's: ``sample["t1"]["data"]`` (C, W, H, D), ``sample["t1"]["affine"]``,
    ``sample["location"]``. Batches have the memory order of the files, (B, C, D, H, W) seen as
    (B, C, W, H, D).

    Args:
        subjects: Subjects, or dicts of images, by number; all images of one on one grid.
        sampler: Where patches are drawn.
        patches_per_image: How many of each subject in an epoch.
        transform: Applied to each patch; `TorchIOTransform` and `MonaiTransform` adapt those. Its
            random numbers (of torch, or of a MONAI transform) are made to depend on the index.
        seed: Of the run, between 0 and 2**64 - 1.

    Raises:
        ValueError: For a seed below 0, or less than one patch per image.
    """

    def __init__(
        self,
        subjects: Sequence[Any],
        sampler: PatchSampler,
        patches_per_image: int = 1,
        transform: Transform | None = None,
        seed: int = 0,
    ) -> None:
        self._drawn = _Drawn(subjects, sampler, patches_per_image, transform, seed)

    def __len__(self) -> int:
        return self._drawn.total

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """The patches of a batch, which a `DataLoader` asks for at once."""
        found = [self._checked(index) for index in indices]
        return self._drawn.read(found, [self._drawn.start(index) for index in found])

    def _checked(self, index: int) -> int:
        size, number = len(self), operator.index(index)
        if not -size <= number < size:
            raise OutOfRangeError(f"index {number} is out of range: there are {size} patches")
        return number % size

    @property
    def epoch(self) -> int:
        """Which pass over the data is drawn; the same index gives another patch in each."""
        return self._drawn.epoch

    def set_epoch(self, epoch: int) -> None:
        """Begin another pass; call it before the loader's iterator is made. Workers follow."""
        self._drawn.set_epoch(epoch)


class IterablePatchDataset(IterableDataset):
    """The same patches in an order for spinning disks and object stores.

    Subjects come in random order, the patches of a subject in the order of its shards on disk, and
    a buffer of patches that are read already is drawn from at random. The patches are those of
    `PatchDataset`, each once in an epoch. Workers and the ranks of an initialised
    `torch.distributed` group take different ones.

    Args:
        subjects: As for `PatchDataset`.
        sampler: As for `PatchDataset`.
        patches_per_image: As for `PatchDataset`.
        transform: As for `PatchDataset`.
        seed: As for `PatchDataset`.
        shuffle_buffer: Patches that each worker holds to draw from; 1 keeps the order of the disk.
    """

    def __init__(
        self,
        subjects: Sequence[Any],
        sampler: PatchSampler,
        patches_per_image: int = 1,
        transform: Transform | None = None,
        seed: int = 0,
        shuffle_buffer: int = 64,
    ) -> None:
        if shuffle_buffer < 1:
            raise ValueError(f"shuffle_buffer must be at least 1, got {shuffle_buffer}")
        self._drawn = _Drawn(subjects, sampler, patches_per_image, transform, seed)
        self.shuffle_buffer = shuffle_buffer

    def __len__(self) -> int:
        return -(-self._drawn.total // _part().ranks)

    def __iter__(self) -> Iterator[Any]:
        drawn, part = self._drawn, _part()
        random = generator(drawn.seed, drawn.epoch, 1 + part.number, ORDER)
        held: list[Any] = []
        for patch in self._in_order(part):
            held.append(patch)
            if len(held) >= self.shuffle_buffer:
                yield _taken(held, random)
        while held:
            yield _taken(held, random)

    def _in_order(self, part: Part) -> Iterator[Any]:
        drawn = self._drawn
        indices = indices_of(
            part, len(drawn.subjects), drawn.patches_per_image, drawn.seed, drawn.epoch
        )
        for number, run in by_subject(indices, drawn.patches_per_image):
            places = [drawn.start(int(index)) for index in run]
            shard = drawn.reading.reader(number).images[0].source.chunks[1:]
            for position in by_shard([start for _, start in places], shard):
                yield drawn.read([int(run[position])], [places[position]])[0]

    @property
    def epoch(self) -> int:
        """Which pass over the data is drawn."""
        return self._drawn.epoch

    def set_epoch(self, epoch: int) -> None:
        """Begin another pass; call it before the loader's iterator is made. Workers follow."""
        self._drawn.set_epoch(epoch)


def _taken(held: list[Any], random: np.random.Generator) -> Any:
    """Take one of the patches; the last takes its place."""
    place = int(random.integers(len(held)))
    held[place], held[-1] = held[-1], held[place]
    return held.pop()


def _part() -> Part:
    info = get_worker_info()
    worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
    group = torch.distributed
    if group.is_available() and group.is_initialized():
        return Part(group.get_rank(), group.get_world_size(), worker, workers)
    return Part(0, 1, worker, workers)
