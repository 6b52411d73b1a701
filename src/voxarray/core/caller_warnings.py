"""Warnings that are shown at the line of whoever called voxarray."""

from __future__ import annotations

import sys
import warnings

from voxarray.core.errors import VoxarrayWarning

_PACKAGE = __name__.partition(".")[0]
_BETWEEN = ("contextlib", "functools")
"""Modules through which parts of the package call each other."""


def warn_caller(text: str, category: type[Warning]) -> None:
    """Warn at the first line outside the package, however deep inside it the warning arises.

    Python shows a warning once per line: at a line of ours, a second call would say nothing.

    Args:
        text: The warning.
        category: Its class.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_inside(frame.f_globals.get("__name__")):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)


def warn_by_code(code: str, text: str) -> None:
    """Warn as `warn_caller`, with a code that programs can test and the page of codes lists."""
    warn_caller(f"{code}: {text}", VoxarrayWarning)


def _is_inside(module: object) -> bool:
    return isinstance(module, str) and (module.partition(".")[0] == _PACKAGE or module in _BETWEEN)
