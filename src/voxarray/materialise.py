"""All voxels of a source in one array that may be edited, with no copy that can be avoided.

Memory order is (C, D, H, W), the files' own, seen as (C, W, H, D): bringing 512^3 voxels into the
other order costs about a second, the view nothing. Where voxels must be converted on the way
(slope, promotion, steps), that happens slab by slab, so the peak stays near the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from voxarray import settings
from voxarray.pieces import has_stream, is_sequential
from voxarray.promotion import cast
from voxarray.selection import Selection, Shape4
from voxarray.sources.base import Source
from voxarray.sources.window import Window

_SLAB_BYTES = 16 << 20  # to convert at once, where a block of the source is not larger

_WORKING_BYTES = 48 << 20
"""Decoding buffers and scaling temporaries of a file that is read front to back."""


def materialise(source: Source, dtype: np.dtype) -> NDArray:
    """Voxels (C, W, H, D) of a source as ``dtype``: writable, native, positive strides.

    A NumPy array that needs no conversion is shared, as ``torch.from_numpy`` does; everything
    else is new memory that nobody else holds.

    Args:
        source: What to read, all of it.
        dtype: The source's own type, or one that its voxels are to be cast to.
    """
    if _at_once(source, dtype):
        voxels = source.read(Selection.whole(source.shape))
        if voxels.dtype == dtype and _is_editable(voxels):
            return voxels
        result = _empty(source.shape, dtype)
        cast(voxels, result)
        return result
    return _from_stream(source, dtype) if is_sequential(source) else _by_slabs(source, dtype)


def projected_peak(source: Source, dtype: np.dtype) -> int:
    """Bytes that `materialise` needs at its peak, result included, above what is held already."""
    voxels = math.prod(source.shape)
    result = voxels * dtype.itemsize
    block = math.prod(source.chunks) * source.dtype.itemsize
    if Window.of(source).base.in_memory:
        return 0 if _forward(source) and source.dtype == dtype else result
    if source.lazy:
        # dask holds all blocks while it joins them, and each thread may be computing another.
        return result + voxels * source.dtype.itemsize + settings.threads() * block
    if has_stream(source):
        return result + min(_WORKING_BYTES, 2 * voxels * source.dtype.itemsize)
    if _at_once(source, dtype):
        return result + block
    return result + max(block, math.prod(_slab_shape(source)) * source.dtype.itemsize)


def _at_once(source: Source, dtype: np.dtype) -> bool:
    """Whether one read of everything is the result, or as good as that."""
    if Window.of(source).base.in_memory or source.lazy:
        return True  # a graph computed in pieces would compute what they share several times
    return source.dtype == dtype and _forward(source)


def _forward(source: Source) -> bool:
    return all(r.step > 0 for r in Window.of(source).selection)


def _from_stream(source: Source, dtype: np.dtype) -> NDArray:
    result = _empty(source.shape, dtype)
    with source.stream() as stream:
        for box in _boxes(source.shape, _slab_shape(source)):
            c, w, h, d = box.shape
            slab = np.empty((c, d, h, w), source.dtype)
            stream.read_into(slab)
            cast(slab.transpose(0, 3, 2, 1), result[box.slices()])
        stream.finish()
    return result


def _by_slabs(source: Source, dtype: np.dtype) -> NDArray:
    result = _empty(source.shape, dtype)
    for box in _boxes(source.shape, _slab_shape(source)):
        cast(source.read(box), result[box.slices()])
    return result


def _slab_shape(source: Source) -> Shape4:
    """Whole planes, as many as suit the source's blocks and `_SLAB_BYTES`."""
    _, width, height, depth = source.shape
    # A block that is cut would be decoded again for each part; a stream has no blocks.
    channels, block = (1, 1) if is_sequential(source) else (source.chunks[0], source.chunks[3])
    plane = channels * width * height * source.dtype.itemsize
    planes = block * max(1, _SLAB_BYTES // (plane * block))
    return channels, width, height, min(planes, depth)


def _boxes(shape: Shape4, step: Shape4) -> Iterator[Selection]:
    channels, width, height, depth = shape
    for c in range(0, channels, step[0]):
        for z in range(0, depth, step[3]):
            stop = min(z + step[3], depth)
            yield Selection.box((c, min(c + step[0], channels)), (0, width), (0, height), (z, stop))


def _empty(shape: Shape4, dtype: np.dtype) -> NDArray:
    c, w, h, d = shape
    return np.empty((c, d, h, w), dtype).transpose(0, 3, 2, 1)


def _is_editable(voxels: NDArray) -> bool:
    """Whether torch takes the array as it is, and the user may write into it."""
    return voxels.flags.writeable and all(stride >= 0 for stride in voxels.strides)
