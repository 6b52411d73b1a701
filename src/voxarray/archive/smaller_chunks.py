"""What helps where writing an archive exceeds the memory budget, found by projecting it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from voxarray.archive.options import Options
from voxarray.core import memory
from voxarray.core.errors import FormatError

_EDGES = (64, 32, 16, 8)
"""Edges of chunks that are tried, in voxels; smaller ones would make very many."""


def advice(peak: Callable[[Options], int], options: Options) -> str:
    """The largest chunks that fit, if there are any; and the budget that is enough without.

    Args:
        peak: Projects the operation with some options: bytes by the budget of the moment.
        options: Those that do not fit.
    """
    raised = f"{memory.raised_to(lambda: peak(options))} (--memory)"
    budget = memory.budget()
    for edge in _EDGES:
        smaller = replace(options, chunk=edge)
        if edge < options.chunk_edge and _is_possible(peak, smaller) and peak(smaller) <= budget:
            return f"use smaller chunks, chunks={edge} (--chunk {edge}), or {raised}"
    return raised


def _is_possible(peak: Callable[[Options], int], options: Options) -> bool:
    """Whether the levels that were asked for can be made of such chunks."""
    try:
        peak(options)
    except FormatError as error:
        if error.code != "BAD_LEVELS":
            raise
        return False
    return True
