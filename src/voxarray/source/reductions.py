"""Dask arrays that depend on reductions of themselves, such as ``x > x.mean()``, read in parts.

Each part would find the mean again, in a pass over everything. Found once, and kept in the graph,
it costs one pass, and parts stay parts.
"""

from __future__ import annotations

from typing import Any

MOST_BYTES = 1 << 20
"""What is kept of a reduction; what is larger is no summary of the array."""

_ROUNDS = 8
"""Reductions of what depends on reductions, as a deviation does on a mean."""


def with_reductions_found(array: Any) -> Any:
    """The same dask array, in whose graph the small results that depend on all blocks are values.

    Args:
        array: Any dask array; given back as it is if its blocks depend on no such results.
    """
    import dask
    from dask.array import Array

    (ready,) = dask.optimize(array)
    graph = dict(ready.__dask_graph__())
    outputs = set(_flat(array.__dask_keys__()))
    is_changed = False
    for _ in range(_ROUNDS):
        keys = _reductions(graph, outputs)
        if not keys:
            break
        tasks = [dask.delayed(_if_small)(_delayed(key, graph)) for key in keys]
        results = dict(zip(keys, dask.compute(*tasks), strict=True))
        small = {key: value for key, value in results.items() if value is not None}
        graph.update(small)
        is_changed = is_changed or bool(small)
        if len(small) < len(keys):
            break
    if not is_changed:
        return array
    return Array(graph, array.name, array.chunks, meta=array._meta)


def _reductions(graph: dict[Any, Any], outputs: set[Any]) -> list[Any]:
    """Keys that are the first to depend on all that is read, and are no blocks of the result."""
    from dask.core import get_deps, toposort

    needed, needing = get_deps(graph)
    # An input of one key alone, as the voxels of its block, is read with it.
    inputs = {key for key, below in needed.items() if not below and len(needing[key]) > 1}
    roots = [key for key, below in needed.items() if below <= inputs and key not in inputs]
    if len(roots) < 2:
        return []
    bits = {key: 1 << number for number, key in enumerate(roots)}
    everything = (1 << len(roots)) - 1
    reach: dict[Any, int] = {}
    for key in toposort(graph):
        reach[key] = bits.get(key, 0)
        for below in needed[key]:
            reach[key] |= reach[below]
    return [
        key
        for key, reached in reach.items()
        if reached == everything
        and key not in outputs
        and len(needing[key]) > 1
        and not any(reach[below] == everything for below in needed[key])
    ]


def _delayed(key: Any, graph: dict[Any, Any]) -> Any:
    from dask.delayed import Delayed

    return Delayed(key, graph)


def _if_small(value: Any) -> Any:
    return value if getattr(value, "nbytes", 0) <= MOST_BYTES else None


def _flat(keys: Any) -> list[Any]:
    if isinstance(keys, list):
        return [key for inner in keys for key in _flat(inner)]
    return [keys]
