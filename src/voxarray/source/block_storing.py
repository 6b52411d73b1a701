"""Blocks of a dask array put where they belong as soon as they are computed.

`compute` collects all blocks before it joins them, so that the result is in memory twice.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core import settings, thread_pools
from voxarray.core.promotion import cast


def computes_in_threads(array: Any) -> bool:
    """Whether dask computes an array in this process, whose memory it can fill."""
    from dask import local, threaded
    from dask.base import get_scheduler

    return get_scheduler(collections=[array]) in (threaded.get, local.get_sync)


def store_blocks(array: Any, dtype: np.dtype, out: NDArray) -> None:
    """Compute a dask array into memory of its shape, in as many threads as voxarray has.

    Args:
        array: Computed in this process; see `computes_in_threads`.
        dtype: Of the voxels; blocks of another type become it first.
        out: Of that type, or one that `cast` can convert voxels to.

    Raises:
        ValueError: If a block has another shape than the array promised.
    """
    import dask
    from dask.system import CPU_COUNT

    places = _Places(out, dtype)
    if thread_pools.is_computing():  # others do as much at once, and blocks take memory
        array.store(places, lock=False, scheduler="synchronous")
    else:
        # Other threads than dask's usual ones would have heaps of their own beside those.
        is_limited = settings.threads() < CPU_COUNT and not dask.config.get("num_workers", None)
        number = {"num_workers": settings.threads()} if is_limited else {}
        array.store(places, lock=False, **number)


@dataclass(frozen=True, eq=False)
class _Places:
    """What dask stores blocks in.

    Attributes:
        out: What is filled.
        dtype: Of the voxels.
        name: Of these places, for dask, which would hash the voxels for one.
    """

    out: NDArray
    dtype: np.dtype
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, W, H, D)."""
        return self.out.shape

    def __dask_tokenize__(self) -> str:
        return self.name

    def __setitem__(self, places: Any, block: Any) -> None:
        part = self.out[places]
        voxels = np.asarray(block)
        if voxels.shape != part.shape:
            raise ValueError(
                f"a block of a dask array has the shape {voxels.shape}, and the array promised "
                f"{part.shape}: the function that makes it must say what it returns"
            )
        cast(voxels.astype(self.dtype, copy=False), part)
