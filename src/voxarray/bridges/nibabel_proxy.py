"""Voxels of a source as nibabel's images hold them: an array that is read where it is indexed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from voxarray.core.exhaustion import names_exhaustion
from voxarray.core.memory import require
from voxarray.geometry.selection import Selection
from voxarray.source.base import Source
from voxarray.source.materialise import projected_peak
from voxarray.source.sliced import SlicedSource


@dataclass(frozen=True, eq=False)
class VoxelProxy:
    """What nibabel calls a ``dataobj``: shape, dtype, and slices that read no more than they show.

    Can be pickled. (An image of nibabel can, too, but by making the bytes of its whole file.)

    Attributes:
        source: (C, W, H, D).
        shape: What nibabel sees: (W, H, D), (W, H, D, C) or (W, H, D, 1, C), or the same with
            other axes of one voxel.
    """

    is_proxy: ClassVar[bool] = True
    slope: ClassVar[float] = 1.0
    """What is read is scaled already, so nothing is left to apply."""
    inter: ClassVar[float] = 0.0

    source: Source
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype:
        """Type of the voxels, slope and intercept applied."""
        return self.source.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @names_exhaustion
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        if copy is False:
            raise ValueError(
                "voxels cannot be read from a file without a copy: leave out copy=False"
            )
        require(
            projected_peak(self.source, self.dtype),
            "the whole array",
            "index the dataobj, or the image's slicer, to read a part",
        )
        return self[...].astype(dtype or self.dtype, copy=False)

    def get_unscaled(self) -> NDArray:
        """All voxels; with slope 1 and intercept 0 they are what ``np.asarray`` gives.

        Raises:
            MemoryBudgetError: As ``np.asarray``.
        """
        return self.__array__()

    @names_exhaustion
    def get_scaled(self, dtype: Any = None) -> NDArray:
        """All voxels, of a type that holds ``dtype``, too.

        Raises:
            MemoryBudgetError: As ``np.asarray``.
        """
        return self.__array__(self.dtype if dtype is None else np.promote_types(self.dtype, dtype))

    @names_exhaustion
    def reshape(self, shape: int | tuple[int, ...]) -> VoxelProxy | NDArray:
        """The same voxels with other axes, the first counted fastest, as nibabel's proxies do.

        A proxy, if only axes of one voxel come or go; otherwise all voxels are read.

        Args:
            shape: With at most one -1, for what is left.

        Raises:
            ValueError: For another number of voxels.
            MemoryBudgetError: As ``np.asarray``, if voxels have to be read.
        """
        # NumPy resolves -1, and checks the rest, on an array without memory of its own.
        new_shape = np.broadcast_to(np.uint8(0), self.shape).reshape(shape, order="F").shape
        if _sizes(new_shape) == _sizes(self.shape):
            return VoxelProxy(self.source, new_shape)
        return np.asarray(self).reshape(new_shape, order="F")

    @names_exhaustion
    def __getitem__(self, key: Any) -> NDArray:
        """Voxels as NumPy would index them with integers, slices, ``...`` and None.

        The array belongs to the caller and may be written to.

        Raises:
            ValueError: For lists and masks.
            IndexError: Beyond the image.
        """
        from nibabel.fileslice import canonical_slicers

        items = canonical_slicers(key, self.shape, check_inds=False)
        indices = [item for item in items if item is not None]
        ranges = [_range(item, size) for item, size in zip(indices, self.shape, strict=True)]
        voxels = self._read(ranges)
        inner = iter(0 if isinstance(item, int) else slice(None) for item in indices)
        result: NDArray = voxels[tuple(None if item is None else next(inner) for item in items)]
        return result

    def _read(self, ranges: list[range]) -> NDArray:
        """Voxels at the crossings of ranges along nibabel's axes."""
        lengths = [len(r) for r in ranges]
        if 0 in lengths:
            return np.empty(lengths, self.dtype)
        channels, *spatial = self.source.shape
        # Axes of one voxel are read whole, so that it does not matter which of them is which.
        long = (r for r, size in zip(ranges, self.shape, strict=True) if size > 1)
        w, h, d, c = (next(long) if size > 1 else range(1) for size in (*spatial, channels))
        voxels = self.source.read(Selection((c, w, h, d))).transpose(1, 2, 3, 0)
        shared = SlicedSource.of(self.source).base.in_memory or not voxels.flags.writeable
        return (voxels.copy(order="K") if shared else voxels).reshape(lengths, order="F")


def _sizes(shape: tuple[int, ...]) -> list[int]:
    """Axes of more than one voxel."""
    return [n for n in shape if n != 1]


def _range(item: Any, size: int) -> range:
    if isinstance(item, slice):
        return range(size)[item]
    if not 0 <= item < size:
        raise IndexError(f"index {item} is out of range for an axis of {size}")
    return range(item, item + 1)
