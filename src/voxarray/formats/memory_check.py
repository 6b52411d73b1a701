"""The memory that saving an image needs, and what helps where there is too little."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from voxarray.core import memory
from voxarray.formats.record import Format, SaveRequest
from voxarray.ops.tree import with_leaves
from voxarray.source.array import DaskSource
from voxarray.source.base import Source

if TYPE_CHECKING:
    from voxarray.archive.options import Options

_EDGES = (128, 64, 32)
"""Edges of blocks of a dask array that are tried, in voxels."""


def require_room(
    request: SaveRequest,
    written: Format,
    ready: Callable[[Source], Source],
    of_file: Callable[[Source], int],
) -> None:
    """Refuse to save what the budget has no room for.

    Args:
        request: What is to be saved.
        written: The format.
        ready: Gives what a source is computed from in the end, without its voxels.
        of_file: Projects what writing a source as a file of that format needs, in bytes.

    Raises:
        MemoryBudgetError: It says what helps, and nothing that does not.
    """

    def peak(source: Source, options: Options | None = None) -> int:
        if written.identity == "zarr":
            return _of_archive(ready(source), options or _options(request))
        return of_file(ready(source))

    def instead() -> str:
        ways = [_smaller_blocks(request.source, peak)]
        if written.identity == "zarr":
            from voxarray.archive.smaller_chunks import advice

            ways.append(advice(lambda other: peak(request.source, other), _options(request)))
        else:
            from voxarray.archive.options import Options

            if _of_archive(ready(request.source), Options()) <= memory.budget():
                ways.append("save an archive (.ome.zarr) instead")
            ways.append(f"{memory.raised_to(lambda: peak(request.source))} (--memory)")
        return ", or ".join(way for way in ways if way)

    title = os.path.basename(request.path)
    memory.require(peak(request.source), lambda: f"saving {title}", instead)


def _of_archive(source: Source, options: Options) -> int:
    from voxarray.archive.projection import projected_peak

    return projected_peak(source, options)


def _options(request: SaveRequest) -> Options:
    """How an archive is made that is asked for."""
    from voxarray.archive.options import Options

    return Options(request.levels, request.chunks, request.codec, request.overwrite)


def _smaller_blocks(source: Source, peak: Callable[[Source], int]) -> str:
    """Which blocks of the dask arrays that are saved are small enough; empty if none are."""
    for edge in _EDGES:

        def smaller(leaf: Source, edge: int = edge) -> Source:
            if not isinstance(leaf, DaskSource):
                return leaf
            _, x, y, z = leaf.shape
            blocks = (1, min(x, edge), min(y, edge), min(z, edge))
            return (
                leaf if blocks == leaf.chunks else replace(leaf, array=leaf.array.rechunk(blocks))
            )

        divided = with_leaves(source, smaller)
        if divided.token() != source.token() and peak(divided) <= memory.budget():
            return (
                f"make the dask array of blocks of {edge} voxels (image.rechunk({edge}) where the "
                "image is opened, before anything is computed of it)"
            )
    return ""
