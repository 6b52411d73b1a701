"""All voxels of a source on a graphics card, with never more than two pieces of them in RAM.

A piece is decoded straight into pinned (page-locked) memory, from which the card copies by itself
while the next piece is decoded. Apart from `voxarray.tensors.convert` and what makes batches, no
module imports torch.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from voxarray.geometry.selection import Shape4
from voxarray.source.base import Source
from voxarray.source.pieces import PIECE_BYTES, is_decoded_anew, pieces_into
from voxarray.source.sliced import SlicedSource
from voxarray.tensors.convert import reading_dtype, torch_dtype
from voxarray.tensors.pinned_buffers import PinnedBuffer, page_locked_bytes

Device = torch.device | str | int | None


def can_upload(source: Source, device: Device) -> bool:
    """Whether voxels can go to a device piece by piece: not those of a graph, or in RAM already."""
    in_pieces = not source.lazy and not SlicedSource.of(source).base.in_memory
    return in_pieces and device is not None and torch.device(device).type == "cuda"


def projected_peak(source: Source, dtype: np.dtype) -> int:
    """Bytes of RAM that `upload` needs at its peak, above what is held already.

    Args:
        source: What is read.
        dtype: NumPy type in which it is read (`voxarray.tensors.convert.reading_dtype`).
    """
    itemsize, plane = source.dtype.itemsize, math.prod(source.shape[1:3])
    voxels = math.prod(source.shape)
    if not is_decoded_anew(source):
        voxels = min(voxels, max(PIECE_BYTES // itemsize, plane))
    staged = page_locked_bytes(max(voxels * dtype.itemsize, PIECE_BYTES))
    return 2 * staged + voxels * itemsize + source.reading_bytes


def upload(source: Source, dtype: torch.dtype | None, device: Device) -> torch.Tensor:
    """All voxels of a source as a tensor (C, W, H, D) on a device.

    Copies are queued on the current stream, as those of ``tensor.to(device, non_blocking=True)``:
    what is done with the tensor on that stream waits for them.

    Args:
        source: What to read.
        dtype: Type of the tensor; by default that of the promotion table.
        device: Where it goes.
    """
    read_as = reading_dtype(source, dtype)
    c, w, h, d = source.shape
    result = torch.empty((c, d, h, w), dtype=dtype or torch_dtype(read_as), device=device)
    read_into = torch_dtype(read_as)
    # One is filled while the card copies what is in the other.
    buffers = [
        PinnedBuffer(read_into, result.device, PIECE_BYTES // read_as.itemsize) for _ in range(2)
    ]
    piece = torch.empty(0)

    def room(shape: Shape4) -> NDArray:
        nonlocal piece
        buffers.reverse()
        piece = buffers[0].room(shape)
        memory: NDArray = piece.numpy()
        return memory

    for box, _ in pieces_into(source, read_as, room):
        channels, x, y, z = box.slices()
        # What no copy converts as NumPy and torch do in RAM is converted there.
        result[channels, z, y, x].copy_(piece.to(result.dtype), non_blocking=True)
        buffers[0].copies()
    return result.permute(0, 3, 2, 1)
