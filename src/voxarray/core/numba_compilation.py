"""How loops are compiled; imported only where numba is installed (extra ``fast``)."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

from typing import Any

from numba import njit

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def compiled(function: Any) -> Any:
    """The function, compiled when it is first called, and kept on disk where that is possible."""
    try:
        return njit(function, cache=True, **_OPTIONS)
    except RuntimeError:  # neither beside this file nor in the user's folder can be written
        return njit(function, **_OPTIONS)
