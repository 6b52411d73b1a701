"""The mirrored versions of a patch that predictions are averaged over, as numbers of axes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

_AXES: dict[Any, int] = {"x": 0, "y": 1, "z": 2}


def parsed_flips(flips: Sequence[Any] | str) -> list[tuple[int, ...]]:
    """Axes 0, 1, 2 of each mirrored version.

    Raises:
        ValueError: For anything that names no axis.
    """
    if flips == "all":
        return [c for n in (1, 2, 3) for c in itertools.combinations(range(3), n)]
    flipped = []
    for item in _listed(flips):
        axes = _listed(item)
        numbers: list[Any] = [
            _AXES.get(axis, axis) if isinstance(axis, str) else axis for axis in axes
        ]
        if not numbers or any(n not in (0, 1, 2) for n in numbers) or len(set(numbers)) < len(axes):
            raise ValueError(
                f'flips are axes 0, 1, 2 or "x", "y", "z", several at once as a tuple, or "all"; '
                f"not {item!r}"
            )
        flipped.append(tuple(sorted(numbers)))
    if len(set(flipped)) < len(flipped):
        raise ValueError(f"flips names an axis twice: {flips!r}")
    return flipped


def _listed(given: Any) -> list[Any]:
    """What a sequence holds; anything else alone, whether it is an axis or makes no sense."""
    is_one = isinstance(given, str) or not isinstance(given, Iterable)
    return [given] if is_one else list(given)
