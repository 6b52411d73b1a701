"""Joining reads of chunks that lie close to each other into one request.

A request over a network costs its latency and some tens of microseconds of work here, however small
it is. Chunks of a box that are neighbours along x mostly lie next to each other in their shard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")

LARGEST_GAP = 128 << 10
"""Most bytes between two chunks that are read and discarded, to save a second request."""

LARGEST_REQUEST = 2 << 20
"""Most bytes of a request for several chunks: more bytes are read by parallel requests."""


@dataclass(frozen=True, slots=True)
class Extent(Generic[Key]):
    """A chunk in its shard.

    Attributes:
        key: Identifies the chunk for the caller.
        offset: Of its first byte.
        length: Bytes.
    """

    key: Key
    offset: int
    length: int


def joined(
    extents: Iterable[Extent[Key]], gap: int = LARGEST_GAP, most: int = LARGEST_REQUEST
) -> Iterator[list[Extent[Key]]]:
    """The chunks of one shard, grouped by request, in the order of their bytes.

    Examples:
        >>> [[chunk.key for chunk in group] for group in joined(
        ...     [Extent("a", 0, 10), Extent("c", 500, 10), Extent("b", 12, 10)], gap=5)]
        [['a', 'b'], ['c']]

    Args:
        extents: In any order.
        gap: Bytes that may lie between two chunks of one request.
        most: Bytes of a request; a chunk that is larger has one of its own.
    """
    group: list[Extent[Key]] = []
    for chunk in sorted(extents, key=lambda extent: extent.offset):
        if group:
            end = group[-1].offset + group[-1].length
            if chunk.offset - end > gap or chunk.offset + chunk.length - group[0].offset > most:
                yield group
                group = []
        group.append(chunk)
    if group:
        yield group
