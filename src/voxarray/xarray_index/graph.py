"""Operations on dask arrays as dask graphs: one task per block, which computes nothing nested.

What an operation is computed from is known per block (`Operation.needs`), so a block becomes a
task whose arguments are slices of the graphs below.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import dask
import dask.array as da
from numpy.typing import NDArray

from voxarray.geometry.selection import Selection
from voxarray.ops.operation import Operation
from voxarray.ops.tree import leaves
from voxarray.source.array import DaskSource
from voxarray.source.base import Source, digest
from voxarray.source.view import HeaderOnlySource

Blocks = tuple[tuple[int, ...], ...]


def holds_graph(source: Source) -> bool:
    """Whether something below is a dask array."""
    return any(isinstance(leaf, DaskSource) for leaf in leaves(source))


def compose(operation: Operation, inputs: Sequence[da.Array], blocks: Blocks) -> da.Array:
    """An operation on dask arrays.

    Args:
        operation: What is computed.
        inputs: The voxels (C, W, H, D) of its inputs.
        blocks: Sizes of the blocks of the result along C, W, H and D.
    """
    alone = operation.with_inputs([HeaderOnlySource.of(source) for source in operation.inputs])
    name = f"voxarray-{digest(operation.token(), blocks)}"
    edges = [[0, *itertools.accumulate(sizes)] for sizes in blocks]
    spans = [[range(a, b) for a, b in itertools.pairwise(axis)] for axis in edges]

    def block(*index: int) -> da.Array:
        c, w, h, d = (axis[n] for axis, n in zip(spans, index, strict=True))
        selection = Selection((c, w, h, d))
        parts = [
            None if part is None else array[part.slices()]
            for part, array in zip(operation.needs(selection), inputs, strict=True)
        ]
        # The name says what is computed: equal work is recognised, in any process.
        key = f"{name}-{'-'.join(map(str, index))}"
        task = dask.delayed(_block, pure=True)(alone, selection, parts, dask_key_name=key)
        return da.from_delayed(task, selection.shape, operation.dtype)

    counts = [len(axis) for axis in spans]
    return da.block(_nested(block, counts))


def _block(operation: Operation, selection: Selection, parts: list[NDArray | None]) -> NDArray:
    return operation.compute(selection, parts)


def _nested(make: Any, counts: Sequence[int], index: tuple[int, ...] = ()) -> Any:
    if len(index) == len(counts):
        return make(*index)
    return [_nested(make, counts, (*index, n)) for n in range(counts[len(index)])]
