"""Which levels a pyramid has: each costs what it holds, and the second would hold the most."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

from voxarray.core.errors import FormatError
from voxarray.geometry.layout import DEFAULT_CHUNK, Factors, Layout, pyramid_factors
from voxarray.geometry.selection import Shape4

Levels = int | Literal["all"] | Sequence[int] | None
"""How many levels of halves, the base included; ``"all"`` that help; or how many times coarser than
the base each is, powers of two such as ``[4, 16]``. None leaves out the level of half the
resolution, an eighth of the base, and has all that are coarser.
"""

_HALVINGS = 2
"""From the base to the next level by default."""


def checked(levels: Levels) -> Levels:
    """The same levels.

    Raises:
        FormatError: If they are none (``BAD_LEVELS``).
    """
    if levels is None or levels == "all":
        return levels
    if isinstance(levels, int):
        if levels < 1:
            raise FormatError(f"an archive has at least one level, got {levels}", code="BAD_LEVELS")
        return levels
    right = not isinstance(levels, str) and all(
        isinstance(f, int) and f > 1 and f & (f - 1) == 0 for f in levels
    )
    if not right or any(a >= b for a, b in itertools.pairwise(levels)):
        raise FormatError(
            f"levels are a number, 'all', or ascending powers of two such as [2, 4], not {levels}",
            code="BAD_LEVELS",
        )
    return levels


def factors_of(
    layout: Layout, spacing: Sequence[float], levels: Levels, chunk: int = DEFAULT_CHUNK
) -> list[Factors]:
    """Factors (z, y, x), powers of two, from every level to the next.

    Args:
        layout: Of the base.
        spacing: mm along (z, y, x).
        levels: Which ones; those that the image is too small for are left out.
        chunk: Edge of a chunk.

    Raises:
        FormatError: If chunks do not divide as the levels want it (``BAD_LEVELS``).
    """
    shape: Shape4 = layout.shape
    if isinstance(levels, int):
        return pyramid_factors(shape, spacing, levels, chunk)
    steps = pyramid_factors(shape, spacing, None, chunk)
    if levels == "all" or (levels is None and not steps):
        return steps
    if levels is None:
        number = max(len(steps), _HALVINGS)
        steps = pyramid_factors(shape, spacing, number + 1, chunk)
        merged = _merged(steps, range(_HALVINGS, number + 1))
        return merged if _divides(layout, merged) else steps
    halvings = [int(factor).bit_length() - 1 for factor in levels]
    steps = pyramid_factors(shape, spacing, max(halvings, default=0) + 1, chunk)
    merged = _merged(steps, halvings)
    require_division(layout, merged)
    return merged


def require_division(layout: Layout, factors: Sequence[Factors]) -> None:
    """Raise `FormatError` (``BAD_LEVELS``) unless chunks become parts of single chunks."""
    if not _divides(layout, factors):
        raise FormatError(
            f"levels with the factors {list(factors)} do not fit chunks of {layout.chunk[1:]} "
            "voxels (z, y, x), whose edges must be multiples of them: use chunks of 64, or give "
            "the number of levels instead",
            code="BAD_LEVELS",
        )


def _merged(steps: Sequence[Factors], halvings: Sequence[int]) -> list[Factors]:
    """Steps to the levels that come after so many halvings of the base."""
    merged, done = list[Factors](), 0
    for count in halvings:
        if count > len(steps):
            break
        z = y = x = 1
        for step in steps[done:count]:
            z, y, x = z * step[0], y * step[1], x * step[2]
        merged.append((z, y, x))
        done = count
    return merged


def _divides(layout: Layout, factors: Sequence[Factors]) -> bool:
    """Whether a chunk of a level becomes part of one chunk of the next, at every level."""
    for step in factors:
        for factor, edge, count in zip(
            step, layout.chunk[1:], layout.chunk_counts[1:], strict=True
        ):
            if edge % factor and count > 1:
                return False
    return True
