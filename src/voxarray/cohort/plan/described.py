"""What makes a transform the one that it is: another one makes other archives."""

from __future__ import annotations

import hashlib
import json
import marshal
import os
from typing import Any

import numpy as np

from voxarray.core.history import plain

_DEEPEST = 8
"""Containers and functions in one another that are looked into; a function may hold itself."""


def described(transform: Any) -> Any:
    """What makes a transform the one that it is, as JSON: its arguments, or a function's code."""
    parts = getattr(transform, "transforms", None)
    kind = f"{type(transform).__module__}.{type(transform).__qualname__}"
    if parts is not None:
        return [kind, [described(one) for one in parts], plain(_arguments(transform))]
    if hasattr(transform, "args_names"):
        return [kind, transform.version, plain(_arguments(transform))]
    code = getattr(transform, "__code__", None)
    if code is None:  # a partial, a class of the user's
        inner = getattr(transform, "func", None)
        more = [described(inner), plain([transform.args, transform.keywords])] if inner else []
        state = plain(getattr(transform, "__dict__", {}))
        return [kind, getattr(transform, "__qualname__", ""), more, state]
    digest = hashlib.sha256(marshal.dumps(code))
    if getattr(transform, "__closure__", None):
        digest.update(json.dumps(_captured(transform, 0)).encode())
    return [
        transform.__module__,
        transform.__qualname__,
        digest.hexdigest(),
        plain(transform.__defaults__),
    ]


def _captured(value: Any, depth: int) -> Any:
    """What tells one value that a function took along from another, as JSON.

    Of images and whatever else may be large no more than the type: nothing is read here. Nor is
    more said of lists and mappings, which many a function fills while it works.
    """
    if depth > _DEEPEST:
        return None
    if isinstance(value, tuple):
        return [_captured(one, depth + 1) for one in value]
    if isinstance(value, np.ndarray) and value.dtype != object:
        raw = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return [str(value.dtype), list(value.shape), raw]
    if value is None or isinstance(value, (bool, int, float, str, np.generic, os.PathLike)):
        return [type(value).__name__, plain(value)]
    if hasattr(value, "args_names") or hasattr(value, "transforms"):
        return described(value)
    code, kind = getattr(value, "__code__", None), type(value)
    if code is None:
        return f"{kind.__module__}.{getattr(value, '__qualname__', kind.__qualname__)}"
    cells = []
    for cell in getattr(value, "__closure__", None) or ():
        try:
            cells.append(_captured(cell.cell_contents, depth + 1))
        except ValueError:  # a name that has no value yet
            cells.append(None)
    return [hashlib.sha256(marshal.dumps(code)).hexdigest(), cells, plain(value.__defaults__)]


def _arguments(transform: Any) -> dict[str, Any]:
    return {**getattr(transform, "arguments", {}), **getattr(transform, "shared_arguments", {})}
