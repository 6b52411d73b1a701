"""All voxels of a source in one array that may be edited, with no copy that can be avoided.

Memory order is (C, D, H, W), the files' own, seen as (C, W, H, D): bringing 512^3 voxels into the
other order costs about a second, the view nothing. Where voxels must be converted on the way
(promotion, reversal), that happens piece by piece, so the peak stays near the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from voxarray.core import settings
from voxarray.core.promotion import cast
from voxarray.geometry.selection import Selection
from voxarray.source.base import Source
from voxarray.source.pieces import PIECE_BYTES, Piece, block_bytes, has_stream, pieces
from voxarray.source.sliced import SlicedSource
from voxarray.source.storable import is_storable

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
    selection = Selection.whole(source.shape)
    if _at_once(source, dtype):
        voxels = source.read(selection)
        if voxels.dtype == dtype and _is_editable(voxels):
            return voxels
        parts: Iterable[Piece] = [(selection, voxels)]
    else:
        parts = pieces(source)
    result = selection.empty(dtype)
    for box, voxels in parts:
        cast(voxels, result[box.slices()])
        del voxels  # or it would be held while the next one is read
    return result


def projected_peak(source: Source, dtype: np.dtype) -> int:
    """Bytes that `materialise` needs at its peak, result included, above what is held already."""
    voxels = math.prod(source.shape)
    result, source_bytes = voxels * dtype.itemsize, voxels * source.dtype.itemsize
    if SlicedSource.of(source).base.in_memory:
        return 0 if _forward(source) and source.dtype == dtype else result
    if not is_storable(source):  # what computing it needs is of no account
        return result + source_bytes
    if source.lazy:
        # dask holds all blocks while it joins them, and each thread may be computing another.
        return (
            result
            + source_bytes
            + max(source.reading_bytes, settings.threads() * block_bytes(source))
        )
    if has_stream(source):
        return result + max(source.streaming_bytes, min(_WORKING_BYTES, 2 * source_bytes))
    piece = 0 if _at_once(source, dtype) else min(PIECE_BYTES, source_bytes)
    return result + max(source.reading_bytes, block_bytes(source)) + piece


def _at_once(source: Source, dtype: np.dtype) -> bool:
    """Whether one read of everything is the result, or as good as that."""
    if SlicedSource.of(source).base.in_memory or source.lazy:
        return True  # a graph computed in pieces would compute what they share several times
    return source.dtype == dtype and _forward(source)


def _forward(source: Source) -> bool:
    return all(r.step > 0 for r in SlicedSource.of(source).selection)


def _is_editable(voxels: NDArray) -> bool:
    """Whether torch takes the array as it is, and the user may write into it."""
    return voxels.flags.writeable and all(stride >= 0 for stride in voxels.strides)
