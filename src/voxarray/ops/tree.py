"""What a lazy source is computed from, down to the files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from voxarray.ops.operation import Operation
from voxarray.ops.permuted import Permuted
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource


def leaves(source: Source) -> Iterator[Source]:
    """The sources below that are not computed from others, from left to right."""
    if isinstance(source, (SlicedSource, Permuted)):
        yield from leaves(source.base)
    elif isinstance(source, Operation):
        for operand in source.inputs:
            yield from leaves(operand)
    else:
        yield source


def is_computed(source: Source) -> bool:
    """Whether it is more than a file, or a part of one."""
    base = source.base if isinstance(source, SlicedSource) else source
    return isinstance(base, (Operation, Permuted))


def with_leaves(source: Source, change: Callable[[Source], Source]) -> Source:
    """The same operations on other leaves, which must have the same shape and place."""
    if isinstance(source, SlicedSource):
        base = with_leaves(source.base, change)
        if isinstance(base, SlicedSource):  # slices compose; the outer one says what is shown
            return replace(
                source,
                base=base.base,
                selection=base.selection.compose(source.selection),
            )
        return replace(source, base=base)
    if isinstance(source, Permuted):
        return replace(source, base=with_leaves(source.base, change))
    if isinstance(source, Operation):
        return source.with_inputs([with_leaves(operand, change) for operand in source.inputs])
    return change(source)
