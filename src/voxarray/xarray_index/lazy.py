"""Sources as dask arrays and DataArrays, and DataArrays as what an image is made of."""

from __future__ import annotations

import math
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from voxarray.archive.source import ArchiveSource
from voxarray.core.errors import GridError
from voxarray.geometry.selection import Shape4
from voxarray.ops.operation import Operation
from voxarray.ops.permuted import Permuted
from voxarray.ops.tree import leaves
from voxarray.source.array import DaskSource
from voxarray.source.base import Channels, Source, digest
from voxarray.source.indexing import SourceArray
from voxarray.source.pieces import is_decoded_anew
from voxarray.source.sliced import SlicedSource
from voxarray.source.storable import refuse_beyond_disks
from voxarray.xarray_index import accessor  # noqa: F401  # arrays made here have .vox
from voxarray.xarray_index.attach import ARRAY_DIMS, affine_of, attach
from voxarray.xarray_index.graph import compose, holds_graph

_BLOCK_BYTES = 8 << 20
_ENOUGH_BLOCKS = 16


def to_dask(source: Source, chunks: Any = None, *, private: bool = False) -> da.Array:
    """The voxels as a dask array (C, W, H, D); nothing is read.

    The same source gives the same keys in every process, so dask recognises equal work.

    Args:
        source: What is read, once per block.
        chunks: As dask understands them; those of `blocks_of` if None.
        private: Whether the blocks of voxels in memory are copies of them, for whoever edits
            blocks in place; otherwise they are views.

    Raises:
        UnsupportedError: No disk could hold the voxels (``TOO_LARGE``).
    """
    refuse_beyond_disks(source)
    blocks = da.core.normalize_chunks(
        blocks_of(source) if chunks is None else chunks, source.shape, dtype=source.dtype
    )
    if holds_graph(source):
        return _graph(source, blocks)
    private = private and any(leaf.in_memory for leaf in leaves(source))
    return da.from_array(
        SourceArray(source, private=private),
        chunks=blocks,
        name=f"voxarray-{digest(source.token(), blocks, private)}",
        meta=np.empty((0, 0, 0, 0), source.dtype),
        # Lists of indices stay outside the read: a block is what a source reads well.
        fancy=False,
        lock=False,
    )


def _graph(source: Source, blocks: Any = None) -> da.Array:
    """The graph of something that is computed from dask arrays: tasks compute nothing nested."""
    if isinstance(source, SlicedSource):
        array = _graph(source.base)[source.selection.slices()]
    elif isinstance(source, Permuted):
        array = _graph(source.base).transpose(0, *(axis + 1 for axis in source.axes))
    elif isinstance(source, DaskSource):
        array = source.array
    elif isinstance(source, Operation):
        default_blocks = da.core.normalize_chunks(source.chunks, source.shape, dtype=source.dtype)
        inputs = [_graph(operand) for operand in source.inputs]
        return compose(source, inputs, default_blocks if blocks is None else blocks)
    else:
        return to_dask(source, blocks)
    return array if blocks is None else array.rechunk(blocks)


def for_function(source: Source) -> da.Array:
    """The voxels as a dask array for a function of a user, who may make several times as many.

    Blocks are smaller than those of a file, and such that slabs of an archive are made of whole
    ones.
    """
    if source.lazy or is_decoded_anew(source):
        return to_dask(source, private=True)
    return to_dask(source, _smaller(source), private=True)


def blocks_of(source: Source) -> Shape4:
    """Blocks (C, W, H, D) in which dask reads a source: its own, or parts of a few large ones.

    A shard of an archive is read in parts as well as whole, and an image of few shards would
    have no blocks to work on at once.
    """
    shape, chunks = source.shape, source.chunks
    number = math.prod(-(-n // chunk) for n, chunk in zip(shape, chunks, strict=True))
    if number >= _ENOUGH_BLOCKS or not isinstance(SlicedSource.of(source).base, ArchiveSource):
        return chunks
    return _smaller(source)


def _smaller(source: Source) -> Shape4:
    sizes, axis = list(source.chunks), source.slow_axes[0] + 1
    while math.prod(sizes) * source.dtype.itemsize > _BLOCK_BYTES and sizes[axis] > 1:
        sizes[axis] = 1 << ((sizes[axis] - 1).bit_length() - 1)
    c, w, h, d = sizes
    return c, w, h, d


def to_dataarray(
    source: Source, chunks: Any = None, *, name: str = "image", private: bool = False
) -> xr.DataArray:
    """The voxels as a lazy DataArray (c, x, y, z) whose coordinates are the affine.

    Args:
        source: What is read.
        chunks: As `to_dask`.
        name: Name of the DataArray.
        private: As `to_dask`.

    Raises:
        UnsupportedError: As `to_dask`.
    """
    attrs = channel_attrs(source.channels, source.shape[0])
    voxels = to_dask(source, chunks, private=private)
    return attach(voxels, source.affine, name=name, attrs=attrs)


def from_dataarray(
    array: xr.DataArray, affine: NDArray[np.float64] | None = None
) -> tuple[NDArray | da.Array, NDArray[np.float64], Channels]:
    """Voxels (C, W, H, D), affine and channels of a DataArray in any state.

    Dimensions may be transposed; those that are missing (c, or what integers took) come back
    with size one. What is lazy stays lazy.

    Args:
        array: In any state.
        affine: In place of what its coordinates say.

    Raises:
        GridError: If the coordinates are not those of a grid; ``BAD_DIMS`` if the array has
            other dimensions than c, x, y and z.
    """
    unknown = [str(d) for d in array.dims if d not in ARRAY_DIMS]
    if unknown:
        raise GridError(
            f"an image has dimensions {ARRAY_DIMS}, and this array also has {unknown}: rename "
            "them, select from them or reduce them first",
            code="BAD_DIMS",
        )
    grid_affine = affine_of(array) if affine is None else affine
    variable = _lazy(array).variable.set_dims(ARRAY_DIMS)  # type: ignore[no-untyped-call]
    return variable.data, grid_affine, channels_of(array)


def channel_attrs(channels: Channels, count: int) -> dict[str, Any]:
    """Attributes that say what c counts, and how many of it they were written for."""
    attrs = {"channel_kind": channels.kind, "channel_step": channels.step}
    return {**attrs, "channel_count": count} if channels.step else attrs


def channels_of(array: xr.DataArray) -> Channels:
    """What c counts, from the attributes; plain channels if they say nothing."""
    return Channels.stated(array.attrs, array.sizes.get("c", 1))


def _lazy(array: xr.DataArray) -> xr.DataArray:
    # What a backend opened without chunks is neither dask's nor in memory, and `.data` would
    # read all of it; nothing public tells.
    if array.chunks is not None or array.variable._in_memory:
        return array
    preferred = array.encoding.get("preferred_chunks", {})
    return array.chunk({d: preferred.get(d, "auto") for d in array.dims})
