"""Modules of the package as they are written: what each imports and reaches; nothing is run."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2] / "src" / "voxarray"
REPOSITORY = ROOT.parents[1]


def name_of(file: Path) -> str:
    """Dotted name below the package: ``source.base``, ``source``, ``__init__`` for the root."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in sorted(ROOT.rglob("*.py"))}
IN_TEXT = re.compile(r"voxarray(\.[A-Za-z_]\w*)+(:\w+)?")


def walk_as_run(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only type checkers read: annotations may name what is not loaded."""
    todo = [tree]
    while todo:
        node = todo.pop()
        if not (isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"):
            yield node
            todo.extend(ast.iter_child_nodes(node))


def imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Dotted names imported anywhere in a module, also inside functions."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_by_text(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Dotted names in texts that are nothing but the name of a module, perhaps with a member."""
    for node in nodes:
        value = getattr(node, "value", None)
        if isinstance(value, str) and IN_TEXT.fullmatch(value):
            yield value.replace(":", ".")


LOADERS = {"import_module", "find_spec", "__import__"}


def modules_reached(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Our modules taken from ``sys.modules``, or loaded by name; a name that is made when it runs
    counts by the text that it begins with.
    """
    for node in nodes:
        name: ast.AST | None = None
        if isinstance(node, ast.Subscript) and _is_sys_modules(node.value):
            name = node.slice
        elif isinstance(node, ast.Call):
            function = node.func
            called = getattr(function, "attr", getattr(function, "id", ""))
            is_get = isinstance(function, ast.Attribute) and _is_sys_modules(function.value)
            if node.args and (called in LOADERS or (is_get and called in {"get", "pop"})):
                name = node.args[0]
        if isinstance(name, ast.JoinedStr):
            name = name.values[0]
        value = getattr(name, "value", None)
        if isinstance(value, str) and value.split(".")[0] == "voxarray":
            yield value.rstrip(".")


def _is_sys_modules(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return (
            node.attr == "modules" and isinstance(node.value, ast.Name) and node.value.id == "sys"
        )
    return isinstance(node, ast.Name) and node.id == "modules"


def module_of(dotted: str) -> str | None:
    """The module of the package that a dotted name lies in; None for what is not ours."""
    parts = dotted.split(".")
    if parts[0] != "voxarray":
        return None
    parts = parts[1:]
    while parts and ".".join(parts) not in MODULES:
        parts.pop()  # from here on the name is something inside a module
    return ".".join(parts) or "__init__"


def own_imports(names: Iterable[str]) -> set[str]:
    return {module for dotted in names if (module := module_of(dotted)) is not None}


@cache
def parse(name: str) -> tuple[ast.AST, ...]:
    """All nodes of a module: each rule looks at them, so they are found once."""
    return tuple(ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"), MODULES[name])))


@cache
def parse_as_run(name: str) -> tuple[ast.AST, ...]:
    return tuple(walk_as_run(parse(name)[0]))


def named_in_texts(name: str) -> set[str]:
    """Modules that a module names in texts; settings such as "voxarray.threads" name none."""
    return {module for module in own_imports(imports_by_text(parse(name))) if module != "__init__"}


def reached(name: str) -> set[str]:
    return own_imports(modules_reached(parse(name)))


# Functions, not constants: whoever only collects these tests reads no source.
@cache
def imports_of_all() -> dict[str, set[str]]:
    """Module -> our modules that it imports, names in texts or reaches by name."""
    return {
        name: own_imports(imports(parse(name))) | named_in_texts(name) | reached(name)
        for name in MODULES
    }


@cache
def imports_of_all_as_run() -> dict[str, set[str]]:
    """Module -> our modules that it imports when it runs, not only for type checkers."""
    return {name: own_imports(imports(parse_as_run(name))) for name in MODULES}


def report(violations: dict[str, list[str]]) -> str:
    """All that a rule finds, one module in a line."""
    return "\n".join(f"voxarray.{name}: {', '.join(bad)}" for name, bad in violations.items())


def breaking(rule: Callable[[str], Iterable[str]], names: Iterable[str]) -> dict[str, list[str]]:
    """Modules that break a rule, and how."""
    return {name: bad for name in names if (bad := sorted(rule(name)))}
