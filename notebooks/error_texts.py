"""The text of a message in source code, with the name of each value that is put into it.

``f"{path} has {len(names)} axes"`` is read as ``<path> has <number of names> axes``. `error_codes`
makes its table of these texts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType

SOURCE = Path(__file__).parents[1] / "src" / "voxarray"
UNKNOWN = "…"
"""What stands for a value whose expression does not say what it is."""

_UNSPECIFIC = frozenset(
    """
    a added advice after again allocated among base before between bool by chr common crowded cure
    d deepest depth done e end expected explicit farthest fd first flat found get given h hex high
    hint how inner instead it item key lacking likely listed lone low more most msb n named new
    now odd of off often old one opaque open other others our own part plain present raw record
    remark replace repr rest result rows second seen shared short shown some stated stem stop
    stored str string such tail take text texts the them this told total unknown unnamed upper v
    valid value verdict w what when why without word words written wrong x y z
    """.split()  # noqa: SIM905 - sixty words of a line each would be three screens
)
"""Names of variables that tell a reader nothing."""

_WORDS = {
    "DIMS[axis]": "axis",
    "count": "number",
    "cname": "codec",
    "dims": "axes",
    "dim": "axis",
    "itemsize": "bytes",
    "nbytes": "number of bytes",
    "readable report": "report",
    "source.shape[0]": "number of channels",
    "source.shape[1:]": "shape",
    "type(error).__name__": "class of the error",
    "axe": "axis",
    "bitspersample": "bits per sample",
    "config path": "path",
    "crc": "checksum",
    "filename": "file",
    "magic": "first bytes",
    "magics": "first bytes",
    "matrix4": "matrix",
    "max": "largest",
    "message": "error",
    "min": "smallest",
    "returncode": "exit code",
    "root": "folder",
    "spatial": "axes",
    "strerror": "error",
    "system": "coordinate system",
    "uid": "UID",
    "where": "place",
}
"""Words for names and expressions, where the source has another one."""

_AS_THEY_ARE = frozenset(
    """
    abs bool bytes dict float int list listed max min next printable repr round set sorted str sum
    tuple
    """.split()  # noqa: SIM905
)
"""Functions whose result is told by the name of what they are given."""


def message_text(
    value: ast.expr,
    parts: Mapping[str, ast.expr] = MappingProxyType({}),
    forms: dict[str, bool] | None = None,
) -> str:
    """The text of a literal, with a placeholder for what is put into it.

    Of two branches, that of several things is taken, and not that of one; of other branches, the
    longer one. What a condition has decided once, it decides for the whole message.

    Args:
        value: The expression.
        parts: Expressions of the variables that the function sets once.
        forms: By condition, whether its first branch is taken; None for a new message.
    """
    forms = {} if forms is None else forms
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    if isinstance(value, ast.JoinedStr):
        text = "".join(message_text(one, parts, forms) for one in value.values)
        # What follows a word without a space is the rest of a sentence, not one value.
        text = re.sub(r"(?<=[\w)>])<[^<>]*>", UNKNOWN, text)
        return re.sub(f"{UNKNOWN}{{2,}}", UNKNOWN, text)
    if isinstance(value, ast.FormattedValue):
        return message_text(value.value, parts, forms)
    if isinstance(value, ast.BinOp) and _is_text(value):
        return message_text(value.left, parts, forms) + message_text(value.right, parts, forms)
    if isinstance(value, ast.IfExp):
        told = ast.dump(value.test)
        if told not in forms:
            both = [
                len(message_text(one, parts, dict(forms))) for one in (value.body, value.orelse)
            ]
            several = _is_of_several(value.test)
            forms[told] = both[0] >= both[1] if several is None else several
        return message_text(value.body if forms[told] else value.orelse, parts, forms)
    if isinstance(value, ast.Name):
        return _variable(value, parts, forms)
    return placeholder(value)


def _is_text(value: ast.expr) -> bool:
    """Whether an expression joins texts, and does not add numbers."""
    if isinstance(value, ast.BinOp):
        return isinstance(value.op, ast.Add) and (_is_text(value.left) or _is_text(value.right))
    if isinstance(value, ast.IfExp):
        return _is_text(value.body) or _is_text(value.orelse)
    is_literal = isinstance(value, ast.Constant) and isinstance(value.value, str)
    return is_literal or isinstance(value, ast.JoinedStr)


def _variable(value: ast.Name, parts: Mapping[str, ast.expr], forms: dict[str, bool]) -> str:
    own = placeholder(value)
    if value.id not in parts:
        return _shared_texts().get(value.id, own)
    others = {name: part for name, part in parts.items() if name != value.id}
    text = message_text(parts[value.id], others, forms)
    is_only_a_value = re.fullmatch(f"<[^<>]*>|{UNKNOWN}", text) is not None
    return own if is_only_a_value and own != UNKNOWN else text


def placeholder(value: ast.expr) -> str:
    """What stands for an expression: its name between < and >, or … if it has none that tells."""
    name = _told(value)
    return f"<{name}>" if name else UNKNOWN


def _told(value: ast.expr) -> str:
    """What an expression is, in words; empty if it does not say."""
    written = ast.unparse(value)
    if written in _WORDS:
        return _WORDS[written]
    if isinstance(value, ast.FormattedValue):
        return _told(value.value)
    if isinstance(value, ast.Name):
        return _words(value.id)
    if isinstance(value, ast.Attribute):
        return _told_of_attribute(value)
    if isinstance(value, ast.Call):
        return _told_of_call(value)
    if isinstance(value, ast.Subscript):
        of = _told(value.value)
        is_one = not isinstance(value.slice, ast.Slice) and of.endswith("s") and of != "axis"
        return _WORDS.get(of.removesuffix("s"), of.removesuffix("s")) if is_one else of
    if isinstance(value, (ast.GeneratorExp, ast.ListComp)):
        return _told(value.generators[0].iter)
    if isinstance(value, ast.BoolOp):
        return _told(value.values[0])
    if isinstance(value, ast.Starred):
        return _told(value.value)
    return ""


def _told_of_attribute(value: ast.Attribute) -> str:
    if value.attr in ("name", "__name__", "__qualname__"):
        return _told(value.value) or "name"
    return _words(value.attr)


def _told_of_call(call: ast.Call) -> str:
    method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    function = call.func.id if isinstance(call.func, ast.Name) else ""
    first = _told(call.args[0]) if call.args else ""
    if function == "len":
        return f"number of {first}" if first.endswith("s") else "number"
    if function == "type":
        return f"class of {first}" if first and first != "self" else "class"
    if function in _AS_THEY_ARE or method == "join":
        return first
    if isinstance(call.func, ast.Attribute) and not call.args:
        return _told(call.func.value) or (_words(method) if _is_self(call.func.value) else "")
    if function == "map":
        return _told(call.args[1])
    is_own = bool(function) or (isinstance(call.func, ast.Attribute) and _is_self(call.func.value))
    return first or (_words(function or method) if is_own else "")


def _is_self(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id == "self"


def _words(name: str) -> str:
    words = name.strip("_").replace("_", " ").lower() if name.isupper() else name.strip("_")
    words = words.replace("_", " ").strip()
    words = _WORDS.get(words, words)
    return "" if words in _UNSPECIFIC or words == "self" or words.endswith("told") else words


def _is_of_several(test: ast.expr) -> bool | None:
    """Whether a condition holds for several things; None if it is about something else."""
    if isinstance(test, ast.Name):
        return {"several": True, "is_single": False}.get(test.id)
    if not isinstance(test, ast.Compare) or not isinstance(test.comparators[0], ast.Constant):
        return None
    if test.comparators[0].value != 1:
        return None
    return {ast.Eq: False, ast.Gt: True, ast.NotEq: True}.get(type(test.ops[0]))


@cache
def _shared_texts() -> dict[str, str]:
    """Texts and numbers that modules share by name: public ones that mean one thing."""
    found: dict[str, set[str]] = {}
    for file in sorted(SOURCE.rglob("*.py")):
        for name, text in constants(ast.parse(file.read_text("utf-8")).body).items():
            found.setdefault(name, set()).add(text)
    return {name: texts.pop() for name, texts in found.items() if len(texts) == 1}


def constants(body: Sequence[ast.stmt]) -> dict[str, str]:
    """The texts and numbers that a module has names for."""
    return {
        node.targets[0].id: str(node.value.value)
        for node in body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, (str, int))
        and node.targets[0].id.isupper()
        and not node.targets[0].id.startswith("_")
    }
