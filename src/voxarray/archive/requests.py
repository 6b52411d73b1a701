"""Which chunks are read from a store by one request: those that lie close to each other.

A request over a network costs its latency and some tens of microseconds of work here, however
little it brings. Chunks of a box that are neighbours along x mostly lie one after the other in
their shard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")

LARGEST_GAP = 128 << 10
"""Bytes between two chunks that are read for nothing rather than asked around."""

LARGEST_REQUEST = 2 << 20
"""Bytes of a request for several chunks: more of them are read side by side."""


@dataclass(frozen=True, slots=True)
class Extent(Generic[Key]):
    """A chunk in its shard.

    Attributes:
        key: What it is for whoever asked.
        offset: Of its first byte.
        length: Bytes.
    """

    key: Key
    offset: int
    length: int


def joined(
    extents: Iterable[Extent[Key]], gap: int = LARGEST_GAP, most: int = LARGEST_REQUEST
) -> Iterator[list[Extent[Key]]]:
    """The chunks of one shard by request, in the order of their bytes.

    Examples:
        >>> [[one.key for one in some] for some in joined(
        ...     [Extent("a", 0, 10), Extent("c", 500, 10), Extent("b", 12, 10)], gap=5)]
        [['a', 'b'], ['c']]

    Args:
        extents: In any order.
        gap: Bytes that may lie between two chunks of one request.
        most: Bytes of a request; a chunk that is larger has one of its own.
    """
    group: list[Extent[Key]] = []
    for one in sorted(extents, key=lambda extent: extent.offset):
        if group:
            end = group[-1].offset + group[-1].length
            if one.offset - end > gap or one.offset + one.length - group[0].offset > most:
                yield group
                group = []
        group.append(one)
    if group:
        yield group
