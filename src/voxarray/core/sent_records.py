"""Records that are sent between processes by the thousand.

What `dataclasses` does to pickle a frozen record with slots asks for the description of each field,
both ways: for the task of a small image that took as long as opening its file.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

Record = TypeVar("Record")


class SentRecord:
    """Base of frozen dataclasses with slots, which are pickled as their values.

    Values are not checked again where they arrive.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        kind: type = type(self)
        return _arrived, (kind, *_values(kind)(self))


@cache
def _values(kind: type) -> Callable[[Any], tuple[Any, ...]]:
    names: tuple[str, ...] = kind.__slots__  # type: ignore[attr-defined]
    if len(names) == 1:  # of which `attrgetter` gives the value itself
        return lambda record: (getattr(record, names[0]),)
    return attrgetter(*names)


def _arrived(kind: type[Record], *values: Any) -> Record:
    record = object.__new__(kind)
    put = object.__setattr__
    # Strictly: the other process may run another release, whose records have other fields.
    for name, value in zip(kind.__slots__, values, strict=True):  # type: ignore[attr-defined]
        put(record, name, value)
    return record
