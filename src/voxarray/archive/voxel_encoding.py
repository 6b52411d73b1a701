"""How an image's voxels are stored: which type, and where its slope and intercept go.

Whole-number scalings of small integers are applied once, so that readers that know nothing of
scaling see true intensities; others are kept beside the stored integers, as CF ``scale_factor``
and ``add_offset``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.core.scaling import Scaling
from voxarray.source.base import Source

_EXACT = {np.dtype(np.float32): 2**24, np.dtype(np.float64): 2**53}


@dataclass(frozen=True, slots=True)
class VoxelEncoding:
    """What is read from a source, and what is written for it.

    Attributes:
        source: What is read: the source, or its stored numbers.
        dtype: Type in the archive.
        baked: Scaling that is applied while writing.
        kept: Scaling that the archive records, for readers to apply.
    """

    source: Source
    dtype: np.dtype
    baked: Scaling | None = None
    kept: Scaling | None = None

    @property
    def convert(self) -> Callable[[NDArray], NDArray]:
        """Turns voxels as they are read into voxels as they are stored."""
        if self.baked is None:
            return _same
        slope, intercept = int(self.baked.slope), int(self.baked.intercept)
        dtype = self.dtype

        def bake(block: NDArray) -> NDArray:
            wide = block.astype(dtype)
            wide *= dtype.type(slope)
            wide += dtype.type(intercept)
            return wide

        return bake


def encoding_of(source: Source) -> VoxelEncoding:
    """How to store a source without changing a voxel.

    Raises:
        UnsupportedError: If Zarr has no such type; code ``UNSUPPORTED_DTYPE``.
    """
    if source.scaling is None or source.unscaled().dtype.kind not in "iu":
        return VoxelEncoding(source, _storable(source.dtype))
    stored = source.unscaled()
    baked = _baked_dtype(stored.dtype, source.scaling, source.dtype)
    if baked is not None:
        return VoxelEncoding(stored, baked, baked=source.scaling)
    return VoxelEncoding(stored, _storable(stored.dtype), kept=source.scaling)


def _storable(dtype: np.dtype) -> np.dtype:
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind not in "iufc" or dtype.itemsize > (16 if dtype.kind == "c" else 8):
        raise UnsupportedError(
            f"voxels of type {dtype} cannot be archived: first convert them to integers or floats "
            "of at most 64 bits, or to complex64 or complex128",
            code="UNSUPPORTED_DTYPE",
        )
    return dtype.newbyteorder("=")


def _baked_dtype(stored: np.dtype, scaling: Scaling, presented: np.dtype) -> np.dtype | None:
    """Smallest integer type that holds every scaled value; None if the scaling must be kept."""
    slope, intercept = scaling.slope, scaling.intercept
    if not (slope.is_integer() and intercept.is_integer()):
        return None
    if slope < 0 and intercept == 0 and np.signbit(intercept):
        return None  # 0 becomes -0.0, which integers cannot hold
    info = np.iinfo(stored)
    ends = sorted(int(slope) * int(end) + int(intercept) for end in (info.min, info.max))
    # A reader gets the scaled values as floats: integers that a float cannot hold exactly would
    # differ from what the source presents.
    largest = max(abs(end) for end in (*ends, int(slope), int(intercept)))
    if largest > _EXACT[presented]:
        return None
    for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32"):
        limits = np.iinfo(name)
        if limits.min <= ends[0] and ends[1] <= limits.max and _fits(name, slope, intercept):
            return np.dtype(name)
    return None


def _fits(name: str, *values: float) -> bool:
    limits = np.iinfo(name)
    return all(limits.min <= value <= limits.max for value in values)


def _same(block: NDArray) -> NDArray:
    return block
