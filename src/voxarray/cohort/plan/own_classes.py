"""What the classes of users' own objects define: methods and values, but not a library's."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from collections.abc import Iterator
from types import FunctionType, MemberDescriptorType
from typing import Any

_VOXARRAY = __name__.partition(".")[0]
_INSTALLED = {"site-packages", "dist-packages"}


def own_classes(kind: type) -> list[type]:
    """A class and its bases, without those of voxarray, of Python and of installed packages.

    Those change only with the version of their library. Bases that are installed in one package
    with the class count as its own: a laboratory may install its transforms.
    """
    return [base for base in kind.__mro__ if _is_own(base, kind)]


def is_own(kind: type) -> bool:
    """Whether a class is neither voxarray's nor Python's nor a library's."""
    return not _is_of_voxarray(kind) and not _is_installed(kind)


def _is_own(base: type, kind: type) -> bool:
    if base is object or _is_of_voxarray(base) or _package(base) == "builtins":
        return False
    return _package(base) == _package(kind) or not _is_installed(base)


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _is_of_voxarray(kind: type) -> bool:
    return _package(kind) == _VOXARRAY


@functools.cache
def _is_installed(kind: type) -> bool:
    """Whether a class is Python's, or of a package that was installed."""
    module = sys.modules.get(kind.__module__)
    if kind.__module__ == "__main__" or module is None:
        return False
    file = getattr(module, "__file__", None)
    if file is None:  # compiled into Python; a namespace package has no classes
        return True
    python = os.path.realpath(sysconfig.get_path("stdlib"))
    path = os.path.realpath(file)
    return path.startswith(python + os.sep) or not _INSTALLED.isdisjoint(path.split(os.sep))


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """Functions and values that a class itself defines, by name, in an order of their own.

    What Python adds to each class, such as its docstring, is left out.
    """
    for name, value in sorted(vars(kind).items()):
        functions = list(_functions(value))
        if functions:
            yield from ((name, function) for function in functions)
        elif not (name.startswith("__") and name.endswith("__")):
            yield name, value


def _functions(value: Any) -> Iterator[FunctionType]:
    """The function, or the functions, behind what stands in a class."""
    parts = [getattr(value, "__func__", value)]  # of static and class methods
    if isinstance(value, property):
        parts = [value.fget, value.fset, value.fdel]
    elif isinstance(value, (functools.cached_property, functools.partialmethod)):
        parts = [value.func]
    for part in parts:
        inner = part if isinstance(part, FunctionType) else getattr(part, "__wrapped__", None)
        if isinstance(inner, FunctionType):
            yield inner


def attributes(value: Any) -> dict[str, Any]:
    """Attributes of an object by name, without those that are computed at first use.

    An object that says in ``__getstate__`` what travels with it to workers is believed: what it
    leaves out, such as counters of its calls, does not change what it computes there.
    """
    kind = type(value)
    if any("__getstate__" in vars(base) for base in kind.__mro__ if base is not object):
        state = value.__getstate__()
        return state if isinstance(state, dict) else {"__getstate__": state}
    found = {
        name: getattr(value, name)
        for base in kind.__mro__
        for name, member in vars(base).items()
        if isinstance(member, MemberDescriptorType) and hasattr(value, name)  # __slots__
    }
    kept = dict(getattr(value, "__dict__", {}))
    for name in list(kept):
        if isinstance(getattr(kind, name, None), functools.cached_property):
            del kept[name]
    return {**found, **kept}
