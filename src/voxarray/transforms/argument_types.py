"""Whether arguments that come from a file are of the types that a transform's signature names."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from voxarray.transforms.transform import Transform

_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def misfit(kind: type[Transform], arguments: Mapping[str, Any]) -> str | None:
    """What is wrong with the first argument that a transform cannot take; None if all fit.

    Args:
        kind: The transform.
        arguments: By name, as YAML or JSON has them.
    """
    hints = {**get_type_hints(Transform.__init__), **get_type_hints(kind.__init__)}
    del hints["return"]
    hints.pop("kwargs", None)
    hints.pop("unknown", None)
    for name, value in arguments.items():
        if name not in hints:
            return f"there is no argument {name!r}, only {', '.join(sorted(hints))}"
        if not _fits(value, hints[name]):
            return f"{name} is {_type_text(hints[name])}, not {value!r}"
    return None


def _fits(value: Any, hint: Any) -> bool:
    """Whether plain data can stand for a value of a type."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if hint is np.ndarray or origin is np.ndarray:
        return isinstance(value, list)
    if origin in (Union, types.UnionType):
        return any(_fits(value, item) for item in inner)
    if value is None or hint is type(None):
        return value is None and hint is type(None)
    if hint is bool or isinstance(value, bool):
        return hint is bool and isinstance(value, bool)
    if hint is float:
        return isinstance(value, (int, float))
    if hint is int:
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if hint is str:
        return isinstance(value, str)
    if _is(origin, Mapping):
        return isinstance(value, dict) and all(
            _fits(key, inner[0]) and _fits(item, inner[1]) for key, item in value.items()
        )
    if _is(origin, Sequence):
        # Of a tuple the transform itself counts the members.
        return isinstance(value, list) and all(
            any(_fits(item, member) for member in inner) for item in value
        )
    return False  # images, grids and functions stand in no file


def _is(origin: Any, kind: type) -> bool:
    return isinstance(origin, type) and issubclass(origin, kind)


def _type_text(hint: Any) -> str:
    """A type in words, without what no file can say."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        texts = dict.fromkeys(filter(None, map(_type_text, inner)))
        return " or ".join(texts)
    if hint is type(None):
        return "null"
    if _is(origin, Mapping):
        return "a mapping"
    if _is(origin, Sequence) or origin is np.ndarray:
        return "a list"
    return _NAMES.get(hint, "")
