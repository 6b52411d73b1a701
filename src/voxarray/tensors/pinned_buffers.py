"""Memory that is page-locked for a graphics card: the card copies from and to it by itself.

Whoever fills or reads such memory has to wait until the card has let go of it, and nothing but an
event on the card's stream tells. So a buffer and the event of its last copy are one object.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import torch

_LOG = logging.getLogger("voxarray.memory")


def page_locked(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """Uninitialised memory that a graphics card can reach; plain memory where none can be locked.

    Locked pages are scarce: they cannot be swapped, and a driver may allow fewer than there is RAM
    (``RLIMIT_MEMLOCK``, WSL). Copies from and to plain memory are right as well, only slower, so
    this is logged as a warning, and no error. What else a card says is one.

    Args:
        shape: Of the tensor.
        dtype: Of its numbers.
    """
    try:
        return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)
    except RuntimeError as error:
        if "out of memory" not in str(error).lower():
            raise
        _LOG.warning(
            "%d bytes of memory could not be page-locked (%s): copies from and to the GPU go "
            "through plain memory, which is slower; a smaller batch_size or patch_size needs less",
            math.prod(shape) * dtype.itemsize,
            str(error).splitlines()[0],
        )
        return torch.empty(tuple(shape), dtype=dtype)


def page_locked_bytes(size: int) -> int:
    """Bytes that torch's allocator of page-locked memory takes: a power of two."""
    return 1 << (size - 1).bit_length() if size > 0 else 0


class PinnedBuffer:
    """Memory in RAM that a device copies from or to, and that is used again when it has.

    Args:
        dtype: Of the numbers.
        device: That copies; memory is page-locked if it is a graphics card.
        least: Numbers for which there is room from the first use on.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device, least: int = 0) -> None:
        self._memory = torch.empty(0, dtype=dtype)
        self._device = device
        self._least = least
        self._pins = device.type == "cuda"
        self._copied: torch.cuda.Event | None = None

    def room(self, shape: Sequence[int]) -> torch.Tensor:
        """Memory of a shape, which the device has let go of."""
        self.wait()
        numbers = math.prod(shape)
        if self._memory.numel() < numbers:
            size, dtype = (max(numbers, self._least),), self._memory.dtype
            self._memory = (
                page_locked(size, dtype) if self._pins else torch.empty(size, dtype=dtype)
            )
        return self._memory[:numbers].view(tuple(shape))

    def copies(self) -> None:
        """A copy from or to this memory was queued on the current stream."""
        if self._pins:
            self._copied = torch.cuda.current_stream(self._device).record_event()

    def wait(self) -> None:
        """Wait until that copy is done: before, the memory must be neither filled nor read."""
        if self._copied is not None:
            self._copied.synchronize()
