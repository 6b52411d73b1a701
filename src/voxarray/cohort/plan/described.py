"""Describing a transform: if the description changes, archives are made again."""

from __future__ import annotations

import dis
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import numpy as np

from voxarray.cohort.plan.archive_names import text_digest
from voxarray.cohort.plan.code_digest import code_digest, inner_codes
from voxarray.cohort.plan.own_classes import attributes, is_own, members, own_classes
from voxarray.core.history import plain
from voxarray.image import Image
from voxarray.source.base import digest
from voxarray.source.sliced import SlicedSource

_FUNCTIONS = (FunctionType, MethodType, partial)
_DIGITS = 16
_PLAIN = (bool, int, float, str, np.generic, os.PathLike)
_TOLD = (*_PLAIN, list, tuple, dict)
_FEW = 1000
"""Numbers of an array up to which they are told one by one."""


def described(transform: Any) -> Any:
    """The description of a transform as JSON: its arguments, or the code of a function.

    A function is described by its code, and by the numbers, texts, arrays, transforms and functions
    that it uses: in closures, in arguments given in advance, as the object of a method, and under
    global names in its code. An object of a user's own class is described by the code of the class
    and of its bases as well, and by its attributes. Of attributes that are lists and mappings the
    contents count; of those that a function uses, and of other objects, they are left out. Images
    are described by the headers of their files, or by their voxels if these are in memory.
    """
    return _Describing().transform(transform)


def digest_of(transform: Any) -> str:
    """Digest of a pipeline, which does not depend on its inputs."""
    return description_digest(described(transform))


def class_digest(kind: type) -> str:
    """Digest of the code of a class of the user's own and of its bases, as in `described`."""
    return _Describing().class_digest(kind)


def own_attributes(value: Any) -> Any:
    """Description, as JSON, of the attributes of an object that are told by their values."""
    told = {name: one for name, one in attributes(value).items() if isinstance(one, _TOLD)}
    return _Describing().argument(told)


def description_digest(description: Any) -> str:
    """The digest of a pipeline of this description."""
    text = json.dumps(description, sort_keys=True)
    return text_digest(f"pipeline\0{text}")[:_DIGITS]


def global_values(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Values of the global names that a function's code uses and does not assign.

    Functions and classes of other modules are left out: they change only with the version of their
    library.
    """
    for name in dict.fromkeys(_names(function)):
        value = function.__globals__.get(name)
        if isinstance(value, FunctionType) and value.__globals__ is not function.__globals__:
            continue
        if isinstance(value, type) and value.__module__ != function.__module__:
            continue
        yield name, value


def closure_values(function: FunctionType) -> Iterator[Any]:
    """Values in the closure of a function."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a name that has no value yet
            yield None


def _names(function: FunctionType) -> Iterator[str]:
    """Names that a function, and those that are defined in it, use and do not assign."""
    for code in inner_codes(function.__code__):
        assigned = {
            instruction.argval
            for instruction in dis.get_instructions(code)
            if instruction.opname == "STORE_GLOBAL"
        }
        yield from (name for name in code.co_names if name not in assigned)


class _Describing:
    """Descriptions that belong together: what is met again is not followed again."""

    def __init__(self) -> None:
        # The objects are held besides: a method is made anew whenever it is asked for, and another
        # one may be given its address.
        self._known: dict[int, tuple[Any, Any]] = {}

    def transform(self, transform: Any) -> Any:
        """Description of a transform, a function or any other object that can be called."""
        known = self._known.get(id(transform))
        if known is not None:
            return known[1]
        self._known[id(transform)] = transform, _name(transform)  # for one that holds itself
        description = self._of(transform)
        self._known[id(transform)] = transform, description
        return description

    def _of(self, transform: Any) -> Any:
        if isinstance(transform, FunctionType):
            return self._of_function(transform)
        if isinstance(transform, MethodType):
            return [self.transform(transform.__func__), self.transform(transform.__self__)]
        kind = type(transform)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if isinstance(transform, partial):
            arguments = transform.args, transform.keywords
            return [name, "", [self.transform(transform.func), self.argument(arguments)], {}]
        parts = getattr(transform, "transforms", None)
        if parts is not None:
            steps = [self.transform(step) for step in parts]
            description = [name, steps, self.argument(_arguments(transform))]
        elif hasattr(transform, "args_names"):
            description = [name, transform.version, self.argument(_arguments(transform))]
        else:
            state = self.argument(attributes(transform))
            description = [name, getattr(transform, "__qualname__", ""), [], state]
        if own_classes(kind):
            description.append(self._of_own(transform))
        return description

    def _of_own(self, transform: Any) -> dict[str, Any]:
        """What a class of the user's own adds: its code, and attributes that need no argument."""
        held = attributes(transform)
        held.pop("transforms", None)  # described as the steps
        return {"code": self.class_digest(type(transform)), "attributes": self.argument(held)}

    def class_digest(self, kind: type) -> str:
        """Digest of what a class and its bases define, whatever the order of their methods."""
        known = self._known.get(id(kind))
        if known is not None:
            return str(known[1])
        self._known[id(kind)] = kind, _name(kind)  # for methods that name their class
        defined = [
            [base.__qualname__, name, self._captured(value)]
            for base in own_classes(kind)
            for name, value in members(base)
            if isinstance(value, FunctionType) or _tells(value)
        ]
        digest = hashlib.sha256(json.dumps(defined).encode()).hexdigest()
        self._known[id(kind)] = kind, digest
        return digest

    def _of_function(self, function: FunctionType) -> list[Any]:
        code = hashlib.sha256(code_digest(function.__code__).encode())
        if used := self._used(function):
            code.update(json.dumps(used).encode())
        names = function.__module__, function.__qualname__
        return [*names, code.hexdigest(), plain(function.__defaults__)]

    def argument(self, value: Any) -> Any:
        """Description of an argument or attribute: as in `plain`, except functions and images."""
        if isinstance(value, (Image, *_FUNCTIONS)) or _is_transform(value):
            return self._captured(value)
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return {key: self.argument(element) for key, element in value.items()}
        if type(value) in (list, tuple):
            return [self.argument(element) for element in value]
        if _is_lazy(value):
            return _name(value)
        numbers = _in_memory(value)
        if numbers is not None and numbers.size > _FEW:
            return _of_array(numbers)
        return plain(value if numbers is None else numbers)

    def _used(self, function: FunctionType) -> list[Any]:
        """Descriptions of what a function uses besides plain arguments; empty without any."""
        descriptions: list[Any] = [self._captured(value) for value in closure_values(function)]
        for name, value in global_values(function):
            if _tells(value):
                descriptions.append([name, self._captured(value)])
        defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        if function.__kwdefaults__ or any(isinstance(value, _FUNCTIONS) for value in defaults):
            descriptions.append([self._captured(value) for value in defaults])
        return descriptions

    def _captured(self, value: Any) -> Any:
        """Description, as JSON, of a value that a function uses.

        Lists, mappings and objects are described by their type only, since many functions fill them
        while they work.
        """
        if isinstance(value, Image):
            return [_name(value), _of_image(value)]
        if isinstance(value, tuple):
            return [self._captured(element) for element in value]
        if isinstance(value, np.ndarray) and value.dtype != object:
            return _of_array(value)
        if value is None or isinstance(value, _PLAIN):
            return [type(value).__name__, plain(value)]
        if isinstance(value, _FUNCTIONS) or _is_transform(value):
            return self.transform(value)
        if isinstance(value, type) and is_own(value):
            return [_name(value), self.class_digest(value)]
        return _name(value)


def _tells(value: Any) -> bool:
    """Whether a value under a global name is described by more than its type."""
    plainly = (*_PLAIN, tuple, np.ndarray, Image, *_FUNCTIONS)
    if isinstance(value, type):
        return is_own(value)
    return isinstance(value, plainly) or _is_transform(value)


def _is_lazy(value: Any) -> bool:
    """Whether it is an array of dask, or one around it, that would have to be computed."""
    graph = getattr(value, "__dask_graph__", None)
    return callable(graph) and graph() is not None


def _in_memory(value: Any) -> np.ndarray | None:
    """An array, or a tensor, as a NumPy array; None for anything else."""
    if isinstance(value, type) or not hasattr(value, "__array__"):
        return None
    if hasattr(value, "detach"):  # a tensor, on any device, of a type that NumPy may not have
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    array = np.asarray(value)
    return None if array.dtype == object else array


def _of_array(array: np.ndarray) -> list[Any]:
    raw = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return [str(array.dtype), list(array.shape), raw]


def _of_image(image: Image) -> str:
    """Digest of an image; files are not read beyond their header."""
    sliced = SlicedSource.of(image.source)
    if not sliced.base.in_memory:
        return sliced.token()
    base: Any = sliced.base
    voxels = base.tensor.detach().cpu().numpy() if hasattr(base, "tensor") else base.array
    header_digest = digest(sliced.dtype.name, voxels.shape, sliced.selection.ranges, sliced.affine)
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
