"""The memory of a batch, and how patches become one.

A batch is read into its own memory, in the files' order (B, C, D, H, W), seen as (B, C, W, H, D);
in a worker that memory is lent to the main process, so that voxels are copied once between the
archive and the batch. `torch.utils.data.default_collate` learns here how to see that a batch is
already one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info
from torch.utils.data._utils.collate import collate, default_collate_fn_map

from voxarray.core.keys import DATA
from voxarray.geometry.selection import Shape3
from voxarray.patches.reading import Layout
from voxarray.patches.shared_batches import BY_VALUE, borrow, share
from voxarray.tensors.collate import (
    is_number,
    numbers,
    of_one_type,
    require_alike,
    require_one_shape,
    require_same_fields,
)
from voxarray.tensors.pinned_buffers import page_locked


class Patch(dict[str, Any]):
    """Voxels of one box of a subject: images by name, ``"location"``, and fields of the subject.

    An image is a dict with ``"data"`` (C, W, H, D), ``"affine"`` (4, 4) of the patch, ``"path"``,
    ``"stem"`` and ``"type"``.
    """


def in_a_worker() -> bool:
    """Whether this process works for a `DataLoader`."""
    return get_worker_info() is not None


def batches(layouts: Sequence[Layout], size: Shape3, shared: bool) -> list[list[torch.Tensor]]:
    """For each patch, one tensor (C, W, H, D) per image: of one memory where all are alike."""
    if any(layout != layouts[0] for layout in layouts):
        return [batches([layout], size, shared)[0] for layout in layouts]
    w, h, d = size
    count = len(layouts)
    memory = [
        _allocate((count, channels, d, h, w), getattr(torch, dtype), shared)
        for _, channels, dtype in layouts[0]
    ]
    return [[batch[number].permute(0, 3, 2, 1) for batch in memory] for number in range(count)]


def _allocate(shape: Sequence[int], dtype: torch.dtype, shared: bool) -> torch.Tensor:
    """Uninitialised memory, which another process may see if it is shared."""
    if not shared:
        # Ready for an asynchronous copy, in a process that uses a graphics card.
        return page_locked(shape, dtype) if _pins() else torch.empty(tuple(shape), dtype=dtype)
    size = math.prod(shape) * dtype.itemsize
    borrowed = borrow(size)
    if borrowed is None:
        return torch.empty(tuple(shape), dtype=dtype)  # torch shares it when it is sent
    return borrowed[:size].view(dtype).view(tuple(shape))


def _pins() -> bool:
    """Asking whether there is a card would begin to use it, and what forks then could not."""
    return not in_a_worker() and bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


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
    require_same_fields(batch, "patch")
    return {
        key: _collate_field(key, [patch[key] for patch in batch], collate_fn_map)
        for key in batch[0]
    }


def _collate_field(name: str, values: Sequence[Any], collate_fn_map: Any) -> Any:
    first = values[0]
    if not isinstance(first, dict):
        return _collate_small(name, values, collate_fn_map)
    require_same_fields(values, f"{name!r}")
    if all(type(value.get(DATA)) is torch.Tensor for value in values):
        require_one_shape([tuple(value[DATA].shape) for value in values], name, is_image=True)
        voxels = of_one_type([value[DATA] for value in values], name)
        values = [{**value, DATA: data} for value, data in zip(values, voxels, strict=True)]
    if not _are_alike([value.get(DATA) for value in values]):
        return collate(values, collate_fn_map=collate_fn_map)
    data = _stacked([value[DATA] for value in values])
    rest = {
        key: _collate_small(key, [value[key] for value in values], collate_fn_map)
        for key in first
        if key != DATA
    }
    return {DATA: share(data) if in_a_worker() else data, **rest}


def _collate_small(name: str, values: Sequence[Any], collate_fn_map: Any) -> Any:
    """As torch collates, but without shared memory for a few numbers."""
    first = values[0]
    require_alike(values, name)
    if any(isinstance(value, torch.Tensor) for value in values):
        values = [torch.as_tensor(value) for value in values]
    if is_number(first):
        return numbers(values, name)
    few = isinstance(first, (np.ndarray, torch.Tensor)) and first.nbytes * len(values) <= BY_VALUE
    if not in_a_worker() or not few or type(first) not in (np.ndarray, torch.Tensor):
        return collate(values, collate_fn_map=collate_fn_map)
    return share(torch.stack([torch.as_tensor(value) for value in values]))


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
