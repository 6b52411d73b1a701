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
from voxarray.source.window import Window
from voxarray.tensors.convert import reading_dtype, torch_dtype

Device = torch.device | str | int | None


def can_upload(source: Source, device: Device) -> bool:
    """Whether voxels can go to a device piece by piece: not those of a graph, or in RAM already."""
    in_pieces = not source.lazy and not Window.of(source).base.in_memory
    return in_pieces and device is not None and torch.device(device).type == "cuda"


def projected_peak(source: Source, dtype: np.dtype) -> int:
    """Bytes of RAM that `upload` needs at its peak, above what is held already.

    Args:
        source: What is read.
        dtype: NumPy type in which it is read (`voxarray.tensors.convert.reading_dtype`).
    """
    own, plane = source.dtype.itemsize, math.prod(source.shape[1:3])
    voxels = math.prod(source.shape)
    if not is_decoded_anew(source):
        voxels = min(voxels, max(PIECE_BYTES // own, plane))
    staged = _rounded(max(voxels * dtype.itemsize, PIECE_BYTES))
    return 2 * staged + voxels * own + source.reading_bytes


def _rounded(size: int) -> int:
    """Bytes that torch's allocator of pinned memory takes: a power of two."""
    return 1 << (size - 1).bit_length()


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
    stage = PinnedBuffers(torch_dtype(read_as), result.device)
    for box, _ in pieces_into(source, read_as, stage.room):
        channels, x, y, z = box.slices()
        # What no copy converts as NumPy and torch do in RAM is converted there.
        result[channels, z, y, x].copy_(stage.piece.to(result.dtype), non_blocking=True)
        stage.sent()
    return result.permute(0, 3, 2, 1)


class PinnedBuffers:
    """Two buffers in RAM: one is filled while the device copies what is in the other.

    Attributes:
        piece: (C, D, H, W), the voxels for which there was room last.

    Args:
        dtype: Of the voxels.
        device: That copies; memory is pinned if it is a graphics card.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.piece = torch.empty(0, dtype=dtype)
        self._device = device
        self._pins = device.type == "cuda"
        self._buffers = [self.piece, self.piece]
        self._arrived: list[torch.cuda.Event | None] = [None, None]

    def room(self, shape: Shape4) -> NDArray:
        """Memory for the next piece, which the device has let go of."""
        self._buffers.reverse()
        self._arrived.reverse()
        if self._arrived[0] is not None:
            self._arrived[0].synchronize()
        voxels = math.prod(shape)
        if self._buffers[0].numel() < voxels:
            dtype = self.piece.dtype
            enough = max(voxels, PIECE_BYTES // dtype.itemsize)
            self._buffers[0] = torch.empty(enough, dtype=dtype, pin_memory=self._pins)
        self.piece = self._buffers[0][:voxels].view(shape)
        memory: NDArray = self.piece.numpy()
        return memory

    def sent(self) -> None:
        """The piece is on its way: its memory is not to be filled before it has arrived."""
        if self._pins:
            self._arrived[0] = torch.cuda.current_stream(self._device).record_event()
