"""The subjects that an index of a cohort selects."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from voxarray.core.errors import OutOfRangeError

Several = list[int] | list[str] | range | np.ndarray[Any, Any]
"""Numbers or names of several subjects."""


def several_names(index: slice | Several, names: Sequence[str]) -> list[str]:
    """Names of the subjects that a slice or a list selects; given names are not checked.

    Raises:
        OutOfRangeError, TypeError: As `name_at`.
        ValueError: If a list names a subject twice.
    """
    if isinstance(index, slice):
        try:
            return list(names[index])
        except TypeError:  # of names, which have no order of their own
            raise _no_index(index) from None
    chosen = [name_at(item, names) for item in index]
    if len(set(chosen)) < len(chosen):
        repeated = next(name for name in chosen if chosen.count(name) > 1)
        raise ValueError(f"give each subject once: {repeated!r} is given twice")
    return chosen


def name_at(index: Any, names: Sequence[str]) -> str:
    """The name at a number; a name is itself.

    Raises:
        OutOfRangeError: If there is no such number.
        TypeError: For anything else.
    """
    if isinstance(index, str):
        return index
    if isinstance(index, (bool, np.bool_)):
        raise _no_index(index)
    try:
        return names[operator.index(index)]
    except TypeError:
        raise _no_index(index) from None
    except IndexError:
        raise OutOfRangeError(
            f"there is no subject number {index}: the cohort has {len(names)} "
            f"subject{'' if len(names) == 1 else 's'}, counted from 0"
        ) from None


def _no_index(index: Any) -> TypeError:
    return TypeError(
        f"a {type(index).__name__} does not choose subjects of a cohort: give a number, a name, a "
        "slice of numbers, or a list of numbers or names. cohort.query(text) chooses by a "
        "condition, and cohort.where(column) by booleans, one per row of cohort.table"
    )
