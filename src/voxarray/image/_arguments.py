"""What users pass as voxels and as affine, checked and brought into one form."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from voxarray.bridges.monai import affine_of, is_meta_tensor
from voxarray.core.errors import GridError
from voxarray.geometry.grid import checked_affine
from voxarray.source.array import ArraySource, DaskSource
from voxarray.source.base import Channels, Source
from voxarray.source.sliced import SlicedSource

if TYPE_CHECKING:
    import torch


def affine_argument(affine: Any) -> NDArray[np.float64]:
    """A read-only (4, 4) float64 copy of an affine in RAS+ mm.

    Raises:
        TypeError: If it is not an array or a tensor.
        GridError: If it is not a valid affine; also a ValueError.
    """
    if not hasattr(affine, "__array__"):
        raise TypeError(
            f"Affine must be a NumPy array or a tensor, not {type(affine)}: use np.array(affine)"
        )
    return checked_affine(np.asarray(affine))


def voxels_argument(
    voxels: Any, affine: NDArray[np.float64] | None, channels: Channels | None = None
) -> Source:
    """Source of voxels that the user holds: torch, NumPy, dask or xarray; nothing is copied.

    Args:
        voxels: 4D, (C, W, H, D); what is a source already, stays it.
        affine: (4, 4) in RAS+ mm; None for the own one of a DataArray or a tensor of MONAI, or the
            identity.
        channels: What C counts, if that is known.

    Raises:
        TypeError: For anything else.
        ValueError: If it is not 4D.
    """
    if isinstance(voxels, Source):
        return voxels if affine is None else SlicedSource.of(voxels).with_affine(affine)
    if is_dataarray(voxels):
        return _from_xarray(voxels, affine)
    if is_meta_tensor(voxels):
        checked = affine_of(voxels) if affine is None else affine
        voxels = voxels.as_tensor()  # or the affine would be there twice, and once out of date
    else:
        checked = checked_affine(np.eye(4)) if affine is None else affine
    channels = channels or Channels()
    if is_tensor(voxels):
        from voxarray.tensors.convert import TensorSource, without_bool

        _require_4d(voxels.shape)
        return TensorSource(without_bool(voxels), checked, channels)
    is_dask = _is_instance(voxels, "dask.array", "Array")
    if not is_dask and not isinstance(voxels, np.ndarray):
        raise TypeError(
            "Input tensor must be a PyTorch tensor or NumPy array, a dask array or a DataArray, "
            f'but type "{type(voxels)}" was found'
        )
    _require_4d(voxels.shape)
    if voxels.dtype.kind not in "biufc":
        raise TypeError(f"Input tensor must hold numbers, but its type is {voxels.dtype}")
    kind = DaskSource if is_dask else ArraySource
    return kind(voxels, checked, channels)


def require_no_other_place(tensor: Any, affine: NDArray[np.float64]) -> None:
    """Refuse voxels for an image that say themselves that they are elsewhere.

    Raises:
        TypeError: For a DataArray.
        GridError: For a tensor of MONAI with another affine (``GRID_MISMATCH``); the identity,
            which it has if it was given none, says nothing.
    """
    if is_dataarray(tensor):
        raise TypeError("a DataArray brings its own geometry: use from_xarray(array)")
    if not is_meta_tensor(tensor):
        return
    own_affine = affine_of(tensor)
    if not (
        np.array_equal(own_affine, np.eye(4))
        or np.allclose(own_affine, affine, rtol=1e-5, atol=1e-4)
    ):
        raise GridError(
            "the MetaTensor has another affine than the image: make an image of it, "
            "vx.ScalarImage(tensor=tensor), or pass tensor.as_tensor() if no voxel has moved",
            code="GRID_MISMATCH",
        )


def is_tensor(value: Any) -> TypeGuard[torch.Tensor]:
    """Whether a value is a torch tensor; torch is not imported to find out."""
    return _is_instance(value, "torch", "Tensor")


def is_dataarray(value: Any) -> bool:
    """Whether a value is an `xarray.DataArray`."""
    return _is_instance(value, "xarray", "DataArray")


def _is_instance(value: Any, module: str, name: str) -> bool:
    # Whoever holds such an object has imported its module already.
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(value, kind)


def _from_xarray(array: Any, affine: NDArray[np.float64] | None) -> Source:
    from voxarray.xarray_index.lazy import from_dataarray

    voxels, checked, channels = from_dataarray(array, affine)
    return voxels_argument(voxels, checked, channels)


def _require_4d(shape: Sequence[int]) -> None:
    if len(shape) != 4:
        raise ValueError(
            f"Input tensor must be 4D, (C, W, H, D), but it is {len(shape)}D with shape "
            f"{tuple(shape)}; tensor[None] adds an axis in front, tensor[..., None] behind"
        )
    if any(n != n for n in shape):  # NaN, where dask does not know the size
        raise ValueError(
            f"Input tensor has the shape {tuple(shape)}: dask does not know yet how many voxels a "
            "Boolean mask chose; call array.compute_chunk_sizes() first"
        )
    if 0 in shape:
        raise ValueError(f"Input tensor holds no voxels, its shape is {tuple(shape)}")
