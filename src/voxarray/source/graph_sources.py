"""The sources that a dask array reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from voxarray.source.base import Source
from voxarray.source.indexing import SourceArray


def sources_of(array: Any) -> Iterator[Source]:
    """The sources that stand in the graph of a dask array, as `to_dask` puts them there."""
    for layer in array.dask.layers.values():
        for value in _held(layer):
            yield value.source


def with_sources(array: Any, change: Callable[[Source], Source]) -> Any:
    """The same dask array, with the same keys, that reads other sources of the same voxels.

    Args:
        array: A dask array; given back as it is if nothing in it changes.
        change: Says which source is read instead of one.
    """
    from dask.array import Array
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    graph = array.dask
    layers = dict(graph.layers)
    for name, layer in graph.layers.items():
        changed = {value.source: change(value.source) for value in _held(layer)}
        if any(before is not after for before, after in changed.items()):
            layers[name] = MaterializedLayer(
                {key: _changed(value, changed) for key, value in layer.items()}
            )
    if all(layers[name] is layer for name, layer in graph.layers.items()):
        return array
    graph = HighLevelGraph(layers, graph.dependencies)
    return Array(graph, array.name, array.chunks, meta=array._meta)


def _held(layer: Any) -> Iterator[SourceArray]:
    """What a layer holds of them; those that compute their tasks only on demand hold none."""
    from dask.highlevelgraph import MaterializedLayer

    if isinstance(layer, MaterializedLayer):
        yield from (value for value in layer.values() if isinstance(value, SourceArray))


def _changed(value: Any, changed: dict[Source, Source]) -> Any:
    from dataclasses import replace

    if not isinstance(value, SourceArray):
        return value
    return replace(value, source=changed[value.source])
