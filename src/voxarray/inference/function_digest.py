"""What tells a function that predicts from another: its code, and the networks that it reaches.

A function seldom is the network; it calls one that it holds, or that stands beside it under a
global name. The same function with other weights predicts something else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import torch

from voxarray.cohort.plan.described import (
    class_digest,
    closure_values,
    described,
    global_values,
    own_attributes,
)
from voxarray.cohort.plan.own_classes import is_own, members, own_classes

_NUMBERS = (bool, int, float, str)
_RESULTS = (torch.Tensor, *_NUMBERS)


def function_digest(function: Callable[..., Any]) -> str:
    """sha256 of a function's code, and of the networks, tensors and numbers that it uses.

    They are found in closures, arguments given in advance, the object of a method, and global names
    that the code mentions; not in what is looked up by other means.
    """
    digest = hashlib.sha256(repr(described(function)).encode())
    for value in _reached(function):
        if isinstance(value, torch.nn.Module):
            digest.update(module_digest(value).encode())
        elif isinstance(value, torch.Tensor):
            _add(digest, "", value)
        else:
            digest.update(f"\0{type(value).__name__} {value!r}\0".encode())
    return digest.hexdigest()


def module_digest(module: torch.nn.Module) -> str:
    """sha256 of a module's class, weights and buffers.

    Of classes of the user's own, of its parts too, the code counts and attributes that are numbers,
    texts, and lists of these.
    """
    digest = hashlib.sha256(repr(module).encode())
    for name, part in module.named_modules():
        if is_own(type(part)):
            held = json.dumps([name, class_digest(type(part)), own_attributes(part)])
            digest.update(held.encode())
    for name, tensor in module.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            _add(digest, name, tensor)
    return digest.hexdigest()


def _add(digest: Any, name: str, tensor: torch.Tensor) -> None:
    plain = tensor.detach().cpu().contiguous()
    digest.update(f"\0{name}\0{plain.dtype}\0{tuple(plain.shape)}\0".encode())
    digest.update(plain.flatten().view(torch.uint8).numpy().tobytes())


def _reached(function: Callable[..., Any]) -> Iterator[Any]:
    """Networks, tensors and numbers that a function uses, in a fixed order."""
    home = _home(function)
    waiting: list[Any] = [function]
    visited = set[int]()
    while waiting:
        value = waiting.pop(0)
        if id(value) in visited:
            continue
        visited.add(id(value))
        if isinstance(value, (torch.nn.Module, torch.Tensor, *_NUMBERS)):
            yield value
        elif isinstance(value, (list, tuple, dict)):
            # Many a function fills a container with numbers and results while it works.
            values = value.values() if isinstance(value, dict) else value
            waiting += [item for item in values if not isinstance(item, _RESULTS)]
        elif isinstance(value, FunctionType):
            waiting += _used_by(value)
        elif isinstance(value, (partial, MethodType)) or type(value).__module__ == home:
            waiting += _held_by(value)


def _used_by(function: FunctionType) -> Iterator[Any]:
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield from closure_values(function)
    yield from (value for _, value in global_values(function))


def _home(function: Any) -> str:
    """The module of a function; objects of its classes are looked into."""
    while isinstance(function, (partial, MethodType)):
        function = function.func if isinstance(function, partial) else function.__func__
    return str(function.__module__)


def _held_by(value: Any) -> Iterator[Any]:
    """What a partial, a method or an object holds."""
    for name in ("__self__", "__func__", "func", "args", "keywords"):
        yield getattr(value, name, None)
    for base in own_classes(type(value)):
        yield from (member for _, member in members(base) if isinstance(member, FunctionType))
    yield from getattr(value, "__dict__", {}).values()
