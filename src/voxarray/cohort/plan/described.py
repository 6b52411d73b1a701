"""Describing a transform: if the description changes, archives are made again."""

from __future__ import annotations

import dis
import hashlib
import json
import marshal
import os
from collections.abc import Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

from voxarray.cohort.plan.names import text_digest
from voxarray.core.history import plain
from voxarray.image import Image
from voxarray.source.base import digest
from voxarray.source.window import Window

_FUNCTIONS = (FunctionType, MethodType, partial)
_DIGITS = 16
_PLAIN = (bool, int, float, str, np.generic, os.PathLike)


def described(transform: Any) -> Any:
    """The description of a transform as JSON: its arguments, or the code of a function.

    A function is described by its code, and by the numbers, texts, arrays, transforms and functions
    that it uses: in closures, in arguments given in advance, as the object of a method, and under
    global names in its code. The contents of lists, mappings and other objects are left out. Images
    are described by the headers of their files, or by their voxels if these are in memory.
    """
    return _described(transform, ())


def digest_of(transform: Any) -> str:
    """Digest of a pipeline, which does not depend on its inputs."""
    text = json.dumps(described(transform), sort_keys=True)
    return text_digest(f"pipeline\0{text}")[:_DIGITS]


def global_values(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Values of the global names that a function's code uses and does not assign.

    Functions of other modules are left out: they change only with the version of their library.
    """
    for name in dict.fromkeys(_names(function.__code__)):
        value = function.__globals__.get(name)
        if not isinstance(value, FunctionType) or value.__globals__ is function.__globals__:
            yield name, value


def closure_values(function: FunctionType) -> Iterator[Any]:
    """Values in the closure of a function."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a name that has no value yet
            yield None


def _names(code: CodeType) -> Iterator[str]:
    assigned = {
        instruction.argval
        for instruction in dis.get_instructions(code)
        if instruction.opname == "STORE_GLOBAL"
    }
    yield from (name for name in code.co_names if name not in assigned)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _described(transform: Any, above: tuple[int, ...]) -> Any:
    parts = getattr(transform, "transforms", None)
    kind = f"{type(transform).__module__}.{type(transform).__qualname__}"
    if parts is not None:
        steps = [_described(step, above) for step in parts]
        return [kind, steps, _argument(_arguments(transform), above)]
    if hasattr(transform, "args_names"):
        return [kind, transform.version, _argument(_arguments(transform), above)]
    if isinstance(transform, FunctionType):
        code = hashlib.sha256(marshal.dumps(transform.__code__))
        if used := _held(transform, above):
            code.update(json.dumps(used).encode())
        names = transform.__module__, transform.__qualname__
        return [*names, code.hexdigest(), plain(transform.__defaults__)]
    if isinstance(transform, MethodType):
        return [_described(transform.__func__, above), _described(transform.__self__, above)]
    if isinstance(transform, partial):
        arguments = transform.args, transform.keywords
        return [kind, "", [_described(transform.func, above), _argument(arguments, above)], {}]
    state = _argument(getattr(transform, "__dict__", {}), above)
    return [kind, getattr(transform, "__qualname__", ""), [], state]


def _argument(value: Any, above: tuple[int, ...]) -> Any:
    """Description of an argument or attribute: as in `plain`, except for functions and images."""
    if isinstance(value, (Image, *_FUNCTIONS)):
        return _captured(value, above)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _argument(element, above) for key, element in value.items()}
    if type(value) in (list, tuple):
        return [_argument(element, above) for element in value]
    return plain(value)


def _held(function: FunctionType, above: tuple[int, ...]) -> list[Any]:
    """Description of the values that a function uses besides plain arguments; empty without any."""
    above = (*above, id(function))
    descriptions: list[Any] = [
        _captured(value_used, above) for value_used in closure_values(function)
    ]
    for name, value in global_values(function):
        if _tells(value):
            descriptions.append([name, _captured(value, above)])
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    if function.__kwdefaults__ or any(
        isinstance(value_used, _FUNCTIONS) for value_used in defaults
    ):
        descriptions.append([_captured(value_used, above) for value_used in defaults])
    return descriptions


def _tells(value: Any) -> bool:
    """Whether a value under a global name is described by more than its type."""
    plainly = (*_PLAIN, tuple, np.ndarray, Image, *_FUNCTIONS)
    return isinstance(value, plainly) or _is_transform(value)


def _captured(value: Any, above: tuple[int, ...]) -> Any:
    """Description, as JSON, of a value that a function uses.

    Lists, mappings and objects are described by their type only, since many functions fill them
    while they work.
    """
    if isinstance(value, Image):
        return [_name(value), _of_image(value)]
    if isinstance(value, tuple):
        return [_captured(element, above) for element in value]
    if isinstance(value, np.ndarray) and value.dtype != object:
        raw = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return [str(value.dtype), list(value.shape), raw]
    if value is None or isinstance(value, _PLAIN):
        return [type(value).__name__, plain(value)]
    if _is_transform(value) or (isinstance(value, _FUNCTIONS) and id(value) not in above):
        return _described(value, (*above, id(value)))
    return _name(value)


def _of_image(image: Image) -> str:
    """Digest of an image; files are not read beyond their header."""
    window = Window.of(image.source)
    if not window.base.in_memory:
        return window.token()
    base: Any = window.base
    voxels = base.tensor.detach().cpu().numpy() if hasattr(base, "tensor") else base.array
    header_digest = digest(window.dtype.name, voxels.shape, window.selection.ranges, window.affine)
    hasher = hashlib.sha256(header_digest.encode())
    for plane in np.moveaxis(voxels, -1, 0):
        hasher.update(np.ascontiguousarray(plane).data)
    return hasher.hexdigest()


def _is_transform(value: Any) -> bool:
    is_object = callable(value) and not isinstance(value, type)  # modules have such attributes, too
    return is_object and (hasattr(value, "args_names") or hasattr(value, "transforms"))


def _name(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{getattr(value, '__qualname__', kind.__qualname__)}"


def _arguments(transform: Any) -> dict[str, Any]:
    return {**getattr(transform, "arguments", {}), **getattr(transform, "shared_arguments", {})}
