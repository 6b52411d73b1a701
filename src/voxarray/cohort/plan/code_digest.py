"""What the code of a function computes, whatever file and line it stands in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from types import CodeType
from typing import Any


def code_digest(code: CodeType) -> str:
    """sha256 of the code of a function, of the functions in it too, and of its constants.

    Where the code lies is left out: the same package may lie elsewhere on each node of a cluster,
    and a comment further up moves all lines.
    """
    return hashlib.sha256(json.dumps(_facts(code)).encode()).hexdigest()


def inner_codes(code: CodeType) -> Iterator[CodeType]:
    """A code and the codes of the functions that are defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from inner_codes(constant)


def _facts(code: CodeType) -> list[Any]:
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    table = getattr(code, "co_exceptiontable", b"")
    constants = [_constant(one) for one in code.co_consts]
    return [code.co_name, code.co_code.hex(), table.hex(), counts, names, constants]


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _facts(value)
    if isinstance(value, tuple):
        return ["tuple", *map(_constant, value)]
    if isinstance(value, frozenset):  # whose order is another one in each process
        return ["frozenset", *sorted(map(repr, value))]
    return [type(value).__name__, repr(value)]
