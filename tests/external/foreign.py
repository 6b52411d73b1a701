"""Where foreign data are, and what became of them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

VERDICTS: Counter[str] = Counter()


def roots(variable: str) -> list[Path]:
    """Folders that a variable names."""
    return [Path(name).resolve() for name in os.environ.get(variable, "").split(os.pathsep) if name]


def parameters(variable: str, found: list[Path]) -> list[object]:
    """A parameter for each path, or one that says which variable is not set."""
    if not found:
        text = "leads to nothing" if os.environ.get(variable) else "is not set"
        return [pytest.param(None, marks=pytest.mark.skip(f"{variable} {text}"), id=variable)]
    bases = roots(variable)
    return [pytest.param(path, id=_short(path, bases)) for path in found]


def _short(path: Path, bases: list[Path]) -> str:
    base = next(base for base in bases if path == base or base in path.parents)
    return path.relative_to(base.parent).as_posix()
