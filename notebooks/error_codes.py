"""Every error code of voxarray, read from its source: what raises it, and what it says.

``python notebooks/error_codes.py`` prints the table; pages are made of `error_codes`. Nothing is
written by hand, so nothing is forgotten: ``tests/documentation/test_error_codes.py`` holds the
reader to what the package raises.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from error_meanings import PUT_TOGETHER
from error_texts import SOURCE, message_text

_CODE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*\Z")
_REPORTS = ("Problem", "Failure", "warn_by_code")
"""Calls whose first argument is a code: what `verify`, plans and warnings say."""
_WARNING = "VoxarrayWarning"
_WARNED = re.compile(r"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*): (.+)", re.DOTALL)
"""The text of a warning, which begins with its code."""


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One code.

    Attributes:
        code: Its name, which stays.
        errors: Names of what carries it: classes of errors, ``VoxarrayWarning`` for warnings,
            ``Problem`` of `verify`, ``Failure`` of a cohort's report.
        says: The message at the first place, as `error_texts` reads it: values by their names.
        modules: Where it comes from.
        messages: What it says at every place, ``says`` first.
        meaning: What its class of errors means, if it is the code of a class; it is the first of
            ``messages``, too.
    """

    code: str
    errors: tuple[str, ...]
    says: str
    modules: tuple[str, ...]
    messages: tuple[str, ...]
    meaning: str


@cache
def error_codes(source: Path = SOURCE) -> tuple[ErrorCode, ...]:
    """All codes, in alphabetical order.

    Args:
        source: Folder of the package.
    """
    errors = source / "core" / "errors.py"  # first, since it says what codes of classes mean
    defaults = _defaults(ast.parse(errors.read_text("utf-8"))) if errors.is_file() else {}
    uses: dict[str, list[tuple[str, str, str]]] = {}
    for file in sorted(source.rglob("*.py"), key=lambda file: (file != errors, file)):
        module = ".".join(("voxarray", *file.relative_to(source).with_suffix("").parts))
        tree = ast.parse(file.read_text("utf-8"))
        for code, error, says in _uses(tree, defaults):
            uses.setdefault(code, []).append((error, says, module))
    meanings = dict(defaults.values())
    return tuple(
        ErrorCode(
            code,
            tuple(dict.fromkeys(error for error, _, _ in found if error)),
            next((says for _, says, _ in found if says), ""),
            tuple(sorted({module for _, _, module in found})),
            tuple(dict.fromkeys(says for _, says, _ in found if says)),
            meanings.get(code, ""),
        )
        for code, found in sorted(uses.items())
    )


def _defaults(tree: ast.Module) -> dict[str, tuple[str, str]]:
    """Codes of classes of errors, and what these mean, by the names of the classes."""
    return {
        node.name: (code, _meaning(node))
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for inner in node.body
        if isinstance(inner, ast.Assign) and _name(inner.targets[0]) == "default_code"
        for code in _codes(inner.value, {})
    }


def _uses(tree: ast.Module, defaults: dict[str, tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Code, what carries it, and its message; empty texts where the source does not tell."""
    nodes = list(ast.walk(tree))  # once: walking is most of the time
    bodies = [list(ast.walk(node)) for node in nodes if isinstance(node, ast.FunctionDef)]
    takers, names = dict(_takers(nodes)), _constants(tree)
    carriers, parts = _carriers(bodies), _parts(bodies)
    yield from _warned(nodes)
    for node in nodes:
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.Assign) and _name(inner.targets[0]) == "default_code":
                    for code in _codes(inner.value, names):
                        yield code, node.name, _meaning(node)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            carrier = carriers.get(id(node), "")
            yield from ((code, carrier, "") for code in _assigned(node, names))
        elif isinstance(node, ast.Call):
            of_node = parts.get(id(node), {})
            for given in _arguments(node, takers):
                for code in _codes(given, names):
                    yield code, _carrier(node, takers), _message(node, of_node)
            own = _name(node.func)
            if own in defaults and not any(one.arg in ("code", None) for one in node.keywords):
                yield defaults[own][0], own, _message(node, of_node)


def _warned(nodes: Sequence[ast.AST]) -> Iterator[tuple[str, str, str]]:
    """Texts that begin with a code: warnings, but for what the command line says at its end."""
    inner: set[int] = set()
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            inner.update(id(part) for part in node.values)
        elif isinstance(node, ast.Call) and _name(node.func) == "exit":
            inner.update(id(part) for given in node.args for part in ast.walk(given))
        elif isinstance(node, ast.Expr):  # documentation
            inner.add(id(node.value))
    for node in nodes:
        if isinstance(node, (ast.Constant, ast.JoinedStr)) and id(node) not in inner:
            found = _WARNED.match(message_text(node))
            if found:
                yield found[1], _WARNING, found[2]


def _constants(tree: ast.Module) -> dict[str, str]:
    """Codes that a module has names for."""
    return {
        _name(node.targets[0]): code
        for node in tree.body
        if isinstance(node, ast.Assign)
        for code in _codes(node.value, {})
    }


def _carriers(bodies: Sequence[Sequence[ast.AST]]) -> dict[int, str]:
    """What carries a code that a function puts into a variable first, by the assignment."""
    found: dict[int, str] = {}
    for body in bodies:
        calls = [node for node in body if isinstance(node, ast.Call)]
        carrier = next((_name(one.func) for one in calls if _is_told_of_a_variable(one)), "")
        for node in body:
            if carrier and isinstance(node, (ast.Assign, ast.AnnAssign)):
                found[id(node)] = carrier
    return found


def _is_told_of_a_variable(call: ast.Call) -> bool:
    given = [one.value for one in call.keywords if one.arg == "code"]
    if _name(call.func) in _REPORTS:
        given += call.args[:1]
    return _carrier(call, {}) != "" and any(_name(one) == "code" for one in given)


def _meaning(node: ast.ClassDef) -> str:
    """What a class of errors means and what to do: its docstring without the lists at the end."""
    text = re.split(r"\n\n(?:Args|Attributes|Examples):", ast.get_docstring(node) or "")[0]
    return " ".join(text.replace("``", "").split())


def _takers(nodes: Sequence[ast.AST]) -> Iterator[tuple[str, tuple[int, str]]]:
    """Functions of a module that are handed a code: in which place, and what they return."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef):
            names = [one.arg for one in node.args.args if one.arg != "self"]
            if "code" in names:
                error = "" if node.returns is None else _name(node.returns)
                yield node.name, (names.index("code"), error)


def _arguments(call: ast.Call, takers: dict[str, tuple[int, str]]) -> Iterator[ast.expr]:
    yield from (one.value for one in call.keywords if one.arg == "code")
    place = 0 if _name(call.func) in _REPORTS else takers.get(_name(call.func), (None,))[0]
    if place is not None and place < len(call.args):
        yield call.args[place]


def _assigned(node: ast.Assign | ast.AnnAssign, names_of: dict[str, str]) -> Iterator[str]:
    """Codes that are given to a variable called so, alone or among others."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets:
        names = target.elts if isinstance(target, ast.Tuple) else [target]
        values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        if len(names) != len(values):
            continue
        for name, value in zip(names, values, strict=True):
            if value is not None and _name(name).lower() in ("code", "_code", "_lost"):
                yield from _codes(value, names_of)


def _codes(value: ast.expr, names: dict[str, str]) -> Iterator[str]:
    """Codes that an expression may be: itself, what it names, either branch of a condition."""
    branches = (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,)
    for branch in branches:
        if isinstance(branch, ast.IfExp):
            yield from _codes(branch, names)
        elif isinstance(branch, ast.Constant) and _CODE.match(str(branch.value)):
            yield str(branch.value)
        elif isinstance(branch, ast.Name) and branch.id in names:
            yield names[branch.id]


def _carrier(call: ast.Call, takers: dict[str, tuple[int, str]]) -> str:
    name = _name(call.func)
    if name == "warn_by_code":
        return _WARNING
    made = takers.get(name, (0, ""))[1]
    return name if name[:1].isupper() else made if made[:1].isupper() else ""


def _parts(bodies: Sequence[Sequence[ast.AST]]) -> dict[int, dict[str, ast.expr]]:
    """By call, the expressions of the variables that its function sets once."""
    found: dict[int, dict[str, ast.expr]] = {}
    for body in bodies:
        once: dict[str, list[ast.expr]] = {}
        for node in body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                once.setdefault(node.targets[0].id, []).append(node.value)
        parts = {name: values[0] for name, values in once.items() if len(values) == 1}
        found.update({id(one): parts for one in body if isinstance(one, ast.Call)})
    return found


def _message(call: ast.Call, parts: Mapping[str, ast.expr]) -> str:
    for given in call.args:
        text = message_text(given, parts)
        if " " in text and re.search(r"\w", text):
            return text
    return ""


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def main() -> None:
    """Print a table in Markdown."""
    print("| code | error | says |\n| --- | --- | --- |")
    for one in error_codes():
        says = (
            (one.says or PUT_TOGETHER[one.code])
            .replace("|", "\\|")
            .replace("\n", " ")
            .replace("<", "&lt;")
        )
        print(f"| `{one.code}` | {', '.join(f'`{error}`' for error in one.errors)} | {says} |")


if __name__ == "__main__":
    main()
