"""Interpolation by compiled loops: where numba is installed, and where that pays in this process.

Importing numba and loading what it has compiled takes about half a second and 110 MiB, compiling
anew some seconds. A process that computes little, or has a small memory budget, does without.
Compiled or not, the results are the same bits: when loops are compiled changes nothing but time.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core import settings
from voxarray.core.numba_permission import has_room, may_compile
from voxarray.ops.kernels import SNAP, Kernel, Linear, Nearest
from voxarray.ops.linear_tiles import taps_of
from voxarray.ops.samples import NUDGE, limits, working_dtype

_WORTHWHILE = 1 << 25
"""Voxels that a process interpolates before it loads numba, whose cost is earned back by then."""

_HALF = 0.5 + SNAP
"""What `kernels.Nearest` adds to a position before it rounds it down."""

Cut = tuple[float, float, float]

_lock = threading.Lock()
_interpolated = 0


def blend_along_axes(voxels: NDArray, axes: Sequence[Any], kernel: Kernel, result: NDArray) -> bool:
    """Linear interpolation along parallel axes, as `separable.along_axes` and `as_stored` do it.

    Args:
        voxels: (C, W, H, D) part of the base.
        axes: A `separable.Axis` for each of W, H and D.
        kernel: The interpolation.
        result: (C, w, h, d), written to.

    Returns:
        Whether it was done; if not, nothing was written.
    """
    if isinstance(kernel, Nearest):
        return _pick(voxels, axes, result)
    if not isinstance(kernel, Linear) or all(axis.is_copied for axis in axes):
        return False
    cut = _cut(voxels.dtype, result.dtype)
    slow, middle, fast = sorted(range(3), key=lambda n: -abs(voxels.strides[n + 1]))
    order = sorted(range(3), key=lambda n: (-axes[n].ratio, -n))  # that of `along_axes`
    if cut is None or (order[2] != fast and order[2] != slow):
        return False
    loops = _compiled_loops(result.size)
    if loops is None:
        return False
    work = working_dtype(voxels.dtype, kernel)
    blend = loops.columns_last if order[2] == fast else loops.planes_last
    first_of_two = order[0] == middle
    steps = [
        _steps(axes[n], work, np.uintp if n == fast else np.intp) for n in (slow, middle, fast)
    ]
    for channel, out in zip(voxels, result, strict=True):
        ordered = channel.transpose(slow, middle, fast)
        if ordered.strides[2] != ordered.itemsize:  # lines are read as they lie in memory
            ordered = np.ascontiguousarray(ordered)
        flat, strides = _flat(ordered)
        target = out.transpose(slow, middle, fast)
        block = target if target.flags.c_contiguous else np.empty(target.shape, target.dtype)
        blend(
            flat, strides[:2], ordered.shape[2], *steps, first_of_two, cut, np.empty(0, work), block
        )
        if block is not target:
            target[...] = block
    return True


def _pick(voxels: NDArray, axes: Sequence[Any], result: NDArray) -> bool:
    chosen = [axis.indices[:, 0] for axis in axes]
    even = all(np.ptp(np.diff(indices)) == 0 for indices in chosen if indices.size > 2)
    if even or not _is_plain(voxels.dtype, result.dtype):
        return False  # even steps are a view, which NumPy copies as fast
    loops = _compiled_loops(result.size)
    if loops is None:
        return False
    for channel, out in zip(voxels, result, strict=True):
        flat, strides = _flat(channel)
        target = out.transpose(2, 1, 0)
        block = target if target.flags.c_contiguous else np.empty(target.shape, target.dtype)
        columns = (chosen[0] * strides[0]).astype(np.uintp)
        loops.pick(
            _as_integers(flat), strides[:0:-1], chosen[2], chosen[1], columns, _as_integers(block)
        )
        if block is not target:
            target[...] = block
    return True


def sample_points(
    lookup: Any, ranges: Sequence[range], voxels: NDArray, kernel: Kernel, result: NDArray
) -> bool:
    """Interpolation at points on no common axes, as `points.at_points` does it.

    Args:
        lookup: A `points.Lookup`.
        ranges: Ranges of the result along W, H and D.
        voxels: (C, W, H, D) part of the base.
        kernel: The interpolation.
        result: (C, w, h, d), holds the value outside; written to.

    Returns:
        Whether it was done; if not, nothing was written.
    """
    if isinstance(kernel, Nearest):
        cut: Cut | float | None = _HALF if _is_plain(voxels.dtype, result.dtype) else None
    else:
        cut = _cut(voxels.dtype, result.dtype) if isinstance(kernel, Linear) else None
    loops = None if cut is None else _compiled_loops(result.size)
    if loops is None:
        return False
    sample = loops.nearest if isinstance(kernel, Nearest) else loops.trilinear
    bounds = tuple((-0.5 - SNAP, size - 0.5 - SNAP) for size in lookup.size)
    starts = tuple(float(start) for start in lookup.starts)
    where = lookup.linear, lookup.shift, starts, bounds
    columns = tuple(np.arange(r.start, r.stop, r.step, dtype=np.float64) for r in ranges)
    for channel, out in zip(voxels, result, strict=True):
        flat, strides = _flat(channel)
        target = out.transpose(2, 1, 0)
        block = target if target.flags.c_contiguous else target.copy()
        if isinstance(kernel, Nearest):
            flat, block = _as_integers(flat), _as_integers(block)
        sample(flat, strides, channel.shape, where, columns, cut, block)
        if not target.flags.c_contiguous:
            target[...] = block.view(target.dtype)
    return True


def _compiled_loops(voxels: int) -> ModuleType | None:
    """The module of compiled loops, or None where NumPy and SciPy are to do it.

    Args:
        voxels: How many are interpolated next; counted towards `_WORTHWHILE`.
    """
    global _interpolated
    if "voxarray.ops.compiled" not in sys.modules:
        if not _is_installed():
            return None
        with _lock:
            _interpolated += voxels
        if _interpolated < _WORTHWHILE or not settings.get("compiled-loops") or not has_room():
            return None
    if not may_compile():
        return None
    from voxarray.ops import compiled

    return compiled


@cache
def _is_installed() -> bool:
    return importlib.util.find_spec("numba") is not None


def _is_plain(base: np.dtype, stored: np.dtype) -> bool:
    """Whether voxels are copied as they are, as numbers of up to eight bytes."""
    return base == stored and base.kind in "iufb" and base.itemsize <= 8


def _cut(base: np.dtype, stored: np.dtype) -> Cut | None:
    """How `as_stored` makes voxels of numbers: factor and limits; None for what is not compiled."""
    if base.kind not in "iuf" or base.itemsize > 8 or base == np.float16:
        return None
    if stored in (np.float32, np.float64):
        return 0.0, 0.0, 0.0
    if stored.kind not in "iu" or base.kind == "f":  # of which some are no numbers
        return None
    return NUDGE, *limits(stored)


def _steps(axis: Any, work: np.dtype, index: Any) -> tuple[NDArray, NDArray, NDArray, bool]:
    """Two indices for each position, the weight of the second, and whether the first is copied."""
    first, second, weights, is_copied = taps_of(axis, work)
    return first.astype(index), second.astype(index), weights, is_copied


def _flat(voxels: NDArray) -> tuple[NDArray, tuple[int, ...]]:
    """Memory from the first voxel to the last, and the steps between voxels along each axis.

    What has no voxels of the machine's byte order at whole steps is copied.
    """
    strides = voxels.strides
    size = voxels.dtype.itemsize
    if not (
        voxels.flags.aligned
        and voxels.dtype.isnative
        and min(strides) > 0
        and not any(stride % size for stride in strides)
        and size in strides
    ):
        voxels = voxels.astype(voxels.dtype.newbyteorder("="), order="K", copy=True)
        strides = voxels.strides
    steps = tuple(stride // size for stride in strides)
    span = 1 + sum((n - 1) * step for n, step in zip(voxels.shape, steps, strict=True))
    flat = np.lib.stride_tricks.as_strided(voxels, (span,), (size,), writeable=False)
    return flat, steps


def _as_integers(array: NDArray) -> NDArray:
    """The bytes of voxels as unsigned integers: what is copied needs no loop for each type."""
    return array.view(f"u{array.dtype.itemsize}")
