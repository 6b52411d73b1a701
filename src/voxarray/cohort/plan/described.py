"""What makes a transform the one that it is: another one makes other archives."""

from __future__ import annotations

import hashlib
import marshal
from typing import Any

from voxarray.core.history import plain


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
    digest = hashlib.sha256(marshal.dumps(code)).hexdigest()
    return [transform.__module__, transform.__qualname__, digest, plain(transform.__defaults__)]


def _arguments(transform: Any) -> dict[str, Any]:
    return {**getattr(transform, "arguments", {}), **getattr(transform, "shared_arguments", {})}
