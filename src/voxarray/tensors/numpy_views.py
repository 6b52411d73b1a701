"""NumPy arrays in the memory of tensors, and how such tensors are sent to other processes.

To send a tensor to a process that it starts, torch moves its memory into shared memory and frees
what it had, of which arrays know nothing: they would show whatever is written there next. It also
expects that the tensor lives until the process has begun, which a copy made for the occasion does
not. Such tensors are sent by value.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
import torch
from numpy.typing import NDArray


class _Seen:
    """Lives as long as any array in the memory of one tensor."""


_seen: weakref.WeakValueDictionary[int, _Seen] = weakref.WeakValueDictionary()
"""By the address of the tensor's memory. Views of an array keep the array alive."""

_lock = threading.RLock()
"""Two threads that make arrays of one tensor must share its `_Seen`. Making one may collect
garbage, which may ask for arrays in turn."""


def remember_view(tensor: torch.Tensor, array: NDArray) -> None:
    """Note that an array lies in the memory of a tensor."""
    at = tensor.untyped_storage().data_ptr()
    with _lock:
        seen = _seen.get(at) or _Seen()
        _seen[at] = seen
    # What calls at the end of the array holds its arguments until then.
    weakref.finalize(array, _let_go, seen).atexit = False


def _let_go(_: _Seen) -> None:
    """Nothing else is to be done at the end of an array."""


def _renew_lock_in_child() -> None:
    # Another thread may have held the lock at the moment of the fork.
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock_in_child)


def to_send(tensor: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
    """A tensor to be pickled, which arrives as a plain one.

    Args:
        tensor: To be sent: the original, or a copy of the part that it shows.
        original: The tensor that somebody keeps.
    """
    if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.requires_grad:
        return tensor
    # Torch also forgets on the way that a tensor is to be conjugated or negated.
    by_value = tensor is not original or tensor.is_conj() or tensor.is_neg() or _is_seen(tensor)
    return tensor.as_subclass(SentByValue) if by_value else tensor


def _is_seen(tensor: torch.Tensor) -> bool:
    if tensor.untyped_storage().is_shared():  # its memory does not move again
        return False
    return tensor.untyped_storage().data_ptr() in _seen


class SentByValue(torch.Tensor):
    """A tensor whose pickle holds its voxels; what arrives is a plain tensor."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        plain = self.as_subclass(torch.Tensor).resolve_conj().resolve_neg()
        order = sorted(range(plain.ndim), key=plain.stride, reverse=True)  # as it lies in memory
        voxels = plain.permute(order).contiguous()
        return _received, (
            voxels.view(-1).view(torch.uint8).numpy(),
            plain.dtype,
            voxels.shape,
            order,
        )


def _received(
    voxels: NDArray[np.uint8], dtype: torch.dtype, shape: Sequence[int], order: Sequence[int]
) -> torch.Tensor:
    back = [order.index(axis) for axis in range(len(order))]
    return torch.from_numpy(voxels).view(dtype).view(tuple(shape)).permute(back)
