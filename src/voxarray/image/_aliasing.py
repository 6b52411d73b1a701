"""Arrays whose memory others hold, too: they must be copied before they can be edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxarray.image._arguments import is_tensor
from voxarray.ops.tree import leaves
from voxarray.source.array import ArraySource
from voxarray.source.base import Source

if TYPE_CHECKING:
    import torch


def may_alias(voxels: NDArray, source: Source) -> bool:
    """Whether an array that was read from a source may lie in memory that others can edit."""
    return any(_may_alias_leaf(voxels, leaf) for leaf in leaves(source))


def unaliased(tensor: torch.Tensor, source: Source) -> torch.Tensor:
    """A tensor that was read from a source, or a copy if others can edit its memory."""
    if not any(_is_held(leaf) for leaf in leaves(source)):
        return tensor
    from voxarray.tensors.convert import private_tensor, to_numpy

    return private_tensor(tensor) if may_alias(to_numpy(tensor), source) else tensor


def _may_alias_leaf(voxels: NDArray, leaf: Source) -> bool:
    if isinstance(leaf, ArraySource):
        return np.may_share_memory(voxels, leaf.array)
    tensor = getattr(leaf, "tensor", None)
    if is_tensor(tensor):
        from voxarray.tensors.convert import to_numpy

        return tensor.device.type == "cpu" and np.may_share_memory(voxels, to_numpy(tensor))
    # A graph may hand out the very array that it was made of, as may what others wrote.
    return leaf.in_memory or leaf.lazy


def _is_held(leaf: Source) -> bool:
    """Whether anything of a leaf may be in memory; what is read of files is nobody else's."""
    is_held = leaf.in_memory or leaf.lazy or isinstance(leaf, ArraySource)
    return is_held or getattr(leaf, "tensor", None) is not None


def private_copy(value: Any) -> Any:
    """Metadata that can be edited apart: containers and arrays are copied, all else is shared."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if is_tensor(value):
        return value.clone()
    if type(value) in (list, set, bytearray):
        return type(value)(map(private_copy, value))
    if type(value) is dict:
        return {key: private_copy(item) for key, item in value.items()}
    return value
