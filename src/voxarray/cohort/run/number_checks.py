"""Checks of the numbers of workers and parts that users give."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

from voxarray.core.errors import FormatError


def is_count(value: object) -> bool:
    """Whether it is a whole number of at least 0."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0


def require_part(part: Sequence[int]) -> None:
    """Raise `FormatError` (``BAD_PARTITION``) unless it is a number from 1 on, and how many."""
    if not isinstance(part, Sequence) or len(part) != 2 or not all(map(is_count, part)):
        raise FormatError(
            f"partition= is a pair of whole numbers such as (3, 16), not {part!r}",
            code="BAD_PARTITION",
        )
    number, of = part
    if not 1 <= number <= of:
        raise FormatError(
            f"a part is one of 1/{of} to {of}/{of}, not {number}/{of}", code="BAD_PARTITION"
        )
