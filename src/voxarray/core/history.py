"""What was done to voxels: entries that an archive keeps and `replay` reads.

An entry is plain JSON: the name of the operation, its arguments by name, the version of what it
computes (which changes when the same arguments give other voxels) and the version of voxarray.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from voxarray.core.version import __version__

Entry = Mapping[str, Any]
History = tuple[Entry, ...]

OPAQUE = "not recorded"
"""Key of what stands for an argument that JSON cannot hold; its value says what it was."""


NUMBER = "number"
"""Key of what stands for NaN and infinity, which JSON has not; its value names them."""

_NO_JSON = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}  # as Zarr names them


def entry(operation: str, arguments: Mapping[str, Any], version: int = 1) -> Entry:
    """One operation.

    Args:
        operation: Name of the transform, or of a method of images.
        arguments: By name; arrays and tuples become lists, and what is no JSON is described.
        version: Of what the operation computes.
    """
    return {
        "operation": operation,
        "arguments": {name: plain(value) for name, value in arguments.items()},
        "version": version,
        "voxarray": __version__,
    }


def plain(value: Any) -> Any:
    """A value as JSON has it; ``{OPAQUE: description}`` if there is no such thing."""
    if isinstance(value, float) and not math.isfinite(value):
        return {NUMBER: "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if type(value) in (list, tuple):  # first of all: every slice of an image records its ranges
        return [item if type(item) is int else plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if hasattr(value, "__array__"):
        return plain(np.asarray(value).tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Mapping):  # JSON has no other keys than text
        return {"pairs": [[plain(key), plain(item)] for key, item in value.items()]}
    if isinstance(value, (Sequence, range)) and not isinstance(value, (bytes, bytearray)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    name = getattr(value, "__qualname__", None) or type(value).__qualname__
    return {OPAQUE: f"{getattr(value, '__module__', type(value).__module__)}.{name}"}


def numbers(value: Any) -> Any:
    """A recorded value with its NaN and infinities as the numbers that they are."""
    if isinstance(value, Mapping):
        if set(value) == {NUMBER} and str(value[NUMBER]) in _NO_JSON:
            return _NO_JSON[str(value[NUMBER])]
        return {key: numbers(item) for key, item in value.items()}
    return [numbers(item) for item in value] if isinstance(value, list) else value


def opaque(value: Any) -> str | None:
    """What an argument was that could not be recorded; None if all of it was."""
    if isinstance(value, Mapping):
        if OPAQUE in value:
            return str(value[OPAQUE])
        return next((description for item in value.values() if (description := opaque(item))), None)
    if isinstance(value, list):
        return next((description for item in value if (description := opaque(item))), None)
    return None
