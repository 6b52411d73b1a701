"""Ways to read a patch from an archive: each opens once and returns a function of a box.

A patch is handed out as a fresh array of its own, (z, y, x) or a permuted view of that.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorstore
import zarr

import voxarray as vx
from volumes import Box
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection

Reader = Callable[[Box], Any]
"""Of slices along z, y, x."""

LEVEL = "scale0/image"


def ram(store: Path) -> Reader:
    """The limit: copy the patch out of an array in memory."""
    array = zarr.open_array(store / LEVEL, mode="r")
    voxels = array[_single(array)]
    return lambda box: voxels[box].copy()


def voxarray_source(store: Path) -> Reader:
    """The archive's source, which is what `Image` reads through."""
    source = open_source(store)
    everything = Selection.whole(source.shape)
    return lambda box: source.read(everything[box[::-1]])


def voxarray_image(store: Path) -> Reader:
    """As users write it: slice the image, take the tensor."""
    image = vx.ScalarImage(store)
    return lambda box: image[box[::-1]].data


def voxarray_dask(store: Path) -> Reader:
    """The image's dask array: a graph is built, cut and run for every patch."""
    array = vx.ScalarImage(store).dask
    return lambda box: array[0][box[::-1]].compute()


def tensorstore_same(store: Path) -> Reader:
    """Tensorstore with its default context."""
    kvstore = {"driver": "file", "path": str(store / LEVEL)}
    array = tensorstore.open({"driver": "zarr3", "kvstore": kvstore}, read=True).result()
    single = _single(array)
    return lambda box: array[*single, *box].read().result()


def zarr_python(store: Path) -> Reader:
    """zarr-python with its default pipeline."""
    array = zarr.open_array(store / LEVEL, mode="r")
    single = _single(array)
    return lambda box: array[*single, *box]


READERS: dict[str, Callable[[Path], Reader]] = {
    "RAM: slice and copy": ram,
    "voxarray": voxarray_source,
    "voxarray: image[...].data": voxarray_image,
    "tensorstore": tensorstore_same,
    "zarr-python": zarr_python,
    "dask graph": voxarray_dask,
}


def _single(array: Any) -> tuple[int, ...]:
    """Indices that drop the axes before (z, y, x)."""
    return (0,) * (len(array.shape) - 3)
