"""Statistics that this process has found already, by what they are of.

What they are of is named by tokens, which differ where voxels may differ. Arrays in memory may
be changed without anybody knowing: nothing is remembered of them, nor of what is computed from
them.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Protocol, TypeVar

from voxarray.ops.tree import leaves
from voxarray.source.array import DaskSource
from voxarray.source.base import Source
from voxarray.source.concat import ConcatSource

LIMIT_BYTES = 64 << 20
"""Of what is remembered: a thousand scans of 16-bit integers, or a few dozen of floats."""


class Sized(Protocol):
    """Something that knows how much memory it takes."""

    @property
    def nbytes(self) -> int:
        """Bytes that are held while it is remembered."""


Result = TypeVar("Result", bound=Sized)

_lock = threading.Lock()
_results: OrderedDict[Hashable, Sized] = OrderedDict()


def cached(kind: str, sources: tuple[Source, ...], find: Callable[[], Result]) -> Result:
    """What ``find`` returns, or what it returned before for the same sources.

    Args:
        kind: What is found; with the sources' tokens it makes the key.
        sources: All that it depends on.
        find: Called without a lock: two threads may both find the same.
    """
    if any(may_change(source) for source in sources):
        return find()
    key = (kind, *(source.token() for source in sources))
    with _lock:
        if key in _results:
            _results.move_to_end(key)
            value: Result = _results[key]  # type: ignore[assignment]  # of the same kind
            return value
    result = find()
    with _lock:
        _results[key] = result
        while len(_results) > 1 and sum(item.nbytes for item in _results.values()) > LIMIT_BYTES:
            _results.popitem(last=False)
    return result


def may_change(source: Source) -> bool:
    """Whether voxels may come to differ under the same token."""
    for leaf in leaves(source):
        # A graph may hold arrays, or images of them.
        if leaf.in_memory or isinstance(leaf, DaskSource):
            return True
        if isinstance(leaf, ConcatSource) and any(map(may_change, leaf.parts)):
            return True
    return False


def forget() -> None:
    """Forget everything; for tests."""
    with _lock:
        _results.clear()


def _renew_lock_in_child() -> None:
    # Another thread may have held the lock at the moment of the fork.
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock_in_child)
