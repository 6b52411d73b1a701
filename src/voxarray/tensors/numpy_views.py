"""NumPy arrays in the memory of tensors, and how such tensors are sent to other processes.

To send a tensor to a process that it starts, torch moves its memory into shared memory and frees
what it had, of which arrays know nothing: they would show whatever is written there next. It also
expects that the tensor lives until the process has begun, which a copy made for the occasion does
not. Such tensors are sent by value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray

_views: WeakValueDictionary[tuple[int, int], NDArray] = WeakValueDictionary()
"""Arrays, by the address of the tensor's memory. Views of an array keep it alive."""


def remember_view(tensor: torch.Tensor, array: NDArray) -> None:
    """Note that an array lies in the memory of a tensor."""
    _views[tensor.untyped_storage().data_ptr(), id(array)] = array


def to_send(tensor: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """A tensor to be pickled, which arrives as a plain one.

    Args:
        tensor: To be sent: the whole, or a copy of what is shown of it.
        whole: The tensor that somebody keeps.
    """
    if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.requires_grad:
        return tensor
    # Torch also forgets on the way that a tensor is to be conjugated or negated.
    by_value = tensor is not whole or tensor.is_conj() or tensor.is_neg() or _is_seen(tensor)
    return tensor.as_subclass(SentByValue) if by_value else tensor


def _is_seen(tensor: torch.Tensor) -> bool:
    if tensor.untyped_storage().is_shared():  # its memory does not move again
        return False
    at = tensor.untyped_storage().data_ptr()
    # Not `list(_views)`, which fails if another thread makes an array meanwhile.
    return any(view.key[0] == at for view in _views.valuerefs())


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
