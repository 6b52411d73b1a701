"""Which tensor type holds voxels of which NumPy type, known without importing torch.

torch has few operations for unsigned integers above 8 bits and none for `bool` images, so those
become the next type that holds every value. All others keep their type, in native byte order.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError

_PROMOTED = {"bool": "uint8", "uint16": "int32", "uint32": "int64", "uint64": "int64"}

_TENSOR_TYPES = {
    "uint8": "ByteTensor",
    "int8": "CharTensor",
    "int16": "ShortTensor",
    "int32": "IntTensor",
    "int64": "LongTensor",
    "float16": "HalfTensor",
    "float32": "FloatTensor",
    "float64": "DoubleTensor",
    "complex64": "ComplexFloatTensor",
    "complex128": "ComplexDoubleTensor",
}


@lru_cache(maxsize=64)  # asked three times for each patch, and NumPy makes each name anew
def tensor_dtype(dtype: np.dtype) -> np.dtype:
    """NumPy type of the tensor that holds voxels of ``dtype``.

    Raises:
        UnsupportedError: If torch has no type that holds all its values (code
            ``UNSUPPORTED_DTYPE``).
    """
    promoted = _PROMOTED.get(dtype.name, dtype.name)
    if promoted not in _TENSOR_TYPES:
        raise UnsupportedError(
            f"a tensor cannot hold voxels of type {dtype.name}: use image.array, or first convert "
            f"the voxels to one of {', '.join(_TENSOR_TYPES)}",
            code="UNSUPPORTED_DTYPE",
        )
    return np.dtype(promoted)


def tensor_type(dtype: np.dtype) -> str:
    """What torch calls a tensor of voxels of ``dtype``, for example ``"torch.IntTensor"``."""
    return f"torch.{_TENSOR_TYPES[tensor_dtype(dtype).name]}"


def cast(voxels: NDArray, out: NDArray) -> None:
    """Copy voxels into ``out`` of the same shape and their tensor type, changing no value.

    Raises:
        UnsupportedError: If a uint64 exceeds what int64 holds (code ``OUT_OF_INT64``).
    """
    if (voxels.dtype.kind, out.dtype.kind) == ("u", "i") and voxels.itemsize == out.itemsize == 8:
        _require_int64(voxels)
    np.copyto(out, voxels, casting="unsafe")


def _require_int64(voxels: NDArray) -> None:
    largest = int(voxels.max(initial=0))
    limit = int(np.iinfo(np.int64).max)
    if largest > limit:
        raise UnsupportedError(
            f"the value {largest} does not fit into an int64 tensor, whose largest value is "
            f"{limit}: use image.array, which keeps uint64",
            code="OUT_OF_INT64",
        )
