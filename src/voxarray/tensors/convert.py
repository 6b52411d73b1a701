"""Tensors in and out of sources.

Tensors have shape (C, W, H, D). They keep the (C, D, H, W) memory order of the files, so they are
permuted views and seldom contiguous; ``tensor.contiguous()`` costs a copy.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.core.promotion import tensor_dtype
from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.array import with_new_name
from voxarray.source.base import Channels, OriginalHeader, Source, digest
from voxarray.source.materialise import materialise
from voxarray.tensors.numpy_views import remember_view, to_send


def read_tensor(source: Source, dtype: torch.dtype | None = None) -> torch.Tensor:
    """All voxels of a source as a tensor in RAM.

    Args:
        source: What to read.
        dtype: Type of the tensor; by default that of the promotion table.

    Raises:
        UnsupportedError: For voxels that no tensor type holds.
    """
    tensor = torch.from_numpy(materialise(source, reading_dtype(source, dtype)))
    return tensor if dtype is None else tensor.to(dtype)


def reading_dtype(source: Source, dtype: torch.dtype | None) -> np.dtype:
    """NumPy type in which voxels are best read to become a tensor of ``dtype``.

    Real numbers become floating-point ones slab by slab, while they are read. All else is left to
    torch, whose rules for overflow differ from NumPy's.
    """
    if dtype in (torch.float16, torch.float32, torch.float64) and source.dtype.kind in "biuf":
        return _numpy_dtype(dtype)
    return tensor_dtype(source.dtype)


def torch_dtype(dtype: np.dtype) -> torch.dtype:
    """Type of the tensor that `torch.from_numpy` makes of an array."""
    result: torch.dtype = getattr(torch, dtype.name)
    return result


def as_torch_dtype(dtype: Any) -> torch.dtype:
    """A type of tensors, given as one, as a type of NumPy, or by name.

    Raises:
        TypeError: If torch has no such type.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    try:
        name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
        torch_dtype = getattr(torch, name, None) or getattr(torch, np.dtype(name).name, None)
    except TypeError:
        torch_dtype = None
    if not isinstance(torch_dtype, torch.dtype):
        raise TypeError(f"dtype is a type of tensors, such as torch.float32, not {dtype!r}")
    return torch_dtype


def without_bool(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself, or uint8 if it is boolean."""
    return tensor.to(torch.uint8) if tensor.dtype == torch.bool else tensor


def take(tensor: torch.Tensor, selection: Selection) -> torch.Tensor:
    """Part of a tensor: a view, or a copy where an axis is reversed (torch has no such views)."""
    reversed_axes = [axis for axis, r in enumerate(selection) if r.step < 0]
    forward = tuple(r[::-1] if r.step < 0 else r for r in selection)
    view = tensor[tuple(slice(r.start, r.stop, r.step) for r in forward)]
    return view.flip(reversed_axes) if reversed_axes else view


def private_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """A copy (C, W, H, D) in the memory order (C, D, H, W); of a view, only what it shows."""
    c, w, h, d = tensor.shape
    result = torch.empty((c, d, h, w), dtype=tensor.dtype, device=tensor.device)
    return result.permute(0, 3, 2, 1).copy_(tensor)


def compact(tensor: torch.Tensor, *, sent: bool = False) -> torch.Tensor:
    """The tensor, or a copy of it if it is a view that keeps more memory alive than it shows.

    Args:
        tensor: Any.
        sent: Whether it is for a pickle, from which a plain tensor is read.
    """
    visible_bytes = tensor.numel() * tensor.element_size()
    result = tensor if tensor.untyped_storage().nbytes() <= visible_bytes else tensor.clone()
    return to_send(result, tensor) if sent else result


def to_numpy(tensor: torch.Tensor) -> NDArray:
    """NumPy array of a tensor, sharing its memory if that is in RAM; bfloat16 becomes float32."""
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    if plain.dtype == torch.bfloat16:
        plain = plain.to(torch.float32)  # holds every bfloat16; NumPy has no such type
    array: NDArray = plain.numpy()
    remember_view(plain, array)
    return array


def copied(array: NDArray) -> torch.Tensor:
    """A tensor of the values of an array, which it does not share."""
    return torch.from_numpy(array.copy())


def integers(numbers: Sequence[int]) -> torch.Tensor:
    """Tensor (n,) of 64-bit integers: sizes and places of volumes of any size."""
    return torch.tensor(numbers, dtype=torch.int64)


def has_nans(tensor: torch.Tensor) -> bool:
    """Whether any voxel is NaN. No temporaries: the minimum of numbers with a NaN is NaN."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return False
    return bool(torch.isnan(torch.amin(tensor.detach())))


@dataclass(frozen=True, eq=False)
class TensorSource(Source):
    """A torch tensor (C, W, H, D) as a source; on any device, shared, not copied.

    Attributes:
        tensor: The voxels.
        affine: (4, 4) voxel index to RAS+ mm.
        origin: Header of the file that the voxels come from.
        label_table: Names and colours of labels.
    """

    in_memory: ClassVar[bool] = True

    tensor: torch.Tensor
    affine: NDArray[np.float64]
    channels: Channels = Channels()
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    origin: OriginalHeader | None = None
    label_table: tuple[Any, ...] = ()

    @property
    def shape(self) -> Shape4:
        c, w, h, d = self.tensor.shape
        return c, w, h, d

    @property
    def dtype(self) -> np.dtype:
        return _numpy_dtype(self.tensor.dtype)

    @property
    def chunks(self) -> Shape4:
        return self.shape

    @property
    def original_header(self) -> OriginalHeader | None:
        return self.origin

    def read(self, selection: Selection) -> NDArray:
        return to_numpy(take(self.tensor, selection))

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy may be changed apart from this one, so it gets a name of its own.
        return with_new_name, (
            type(self),
            to_send(self.tensor, self.tensor),
            self.affine,
            self.channels,
            self.origin,
            self.label_table,
        )

    def token(self) -> str:
        # A tensor may be changed in place, so its content names nothing; the object does.
        return digest("tensor", self.name, self.affine)


def _numpy_dtype(dtype: torch.dtype) -> np.dtype:
    if dtype == torch.bfloat16:
        return np.dtype(np.float32)
    try:
        return np.dtype(str(dtype).removeprefix("torch."))
    except TypeError:
        raise UnsupportedError(
            f"NumPy has no type for tensors of {dtype}: convert them first, for example with "
            "tensor.float()",
            code="UNSUPPORTED_DTYPE",
        ) from None
