"""The layers of the package, and what no module may do: read from the source, nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "voxarray"

# Bottom up. A module imports from lower layers, or without a cycle from its own.
LAYERS = (
    {
        "errors",
        "selection",
        "grid",
        "history",
        "scaling",
        "settings",
        "memory",
        "optional",
        "layout",
        "lps",
        "descriptors",
        "disk",
        "folder_lock",
        "mounts",
        "version",
        "progress",
        "promotion",
        "remote",
        "resident",
        "workers",
    },
    {
        "index",
        "sources",
        "archive",
        "writers",
        "materialise",
        "pieces",
        "planes",
        "statistics",
        "tensors",
        "upload",
        "colours",
        "ops",
    },
    {"image", "bridges", "subject", "repr", "plotting", "transforms"},
    {"patches", "cohort"},
    {"__init__"},  # the public face: names to export, nothing of its own
    {"cli", "__main__"},
    {"testing"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def name_of(file: Path) -> str:
    """Dotted name below the package: ``sources.base``, ``sources``, ``__init__`` for the root."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in sorted(ROOT.rglob("*.py"))}


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names imported anywhere in a module, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(tree: ast.AST) -> set[str]:
    """Modules of the package that a module imports."""
    found = set()
    for dotted in imports(tree):
        if dotted.split(".")[0] == "voxarray":
            parts = dotted.split(".")[1:]
            while parts and ".".join(parts) not in MODULES:
                parts.pop()  # from here on the name is something inside a module
            found.add(".".join(parts) or "__init__")
    return found


def parse(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"), MODULES[name])


class Unchecked(ast.NodeTransformer):
    """Leaves out what only type checkers read: annotations may name what is not imported."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


def parse_as_run(name: str) -> ast.Module:
    return Unchecked().visit(parse(name))


GRAPH = {name: own_imports(parse(name)) for name in MODULES}
RUN_GRAPH = {name: own_imports(parse_as_run(name)) for name in MODULES}


def level(name: str) -> int:
    top = name.split(".")[0]
    assert top in LEVEL, f"voxarray.{top} has no layer: give it one in LAYERS"
    return LEVEL[top]


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name: str) -> None:
    upwards = {other for other in GRAPH[name] if level(other) > level(name)}
    assert not upwards, f"voxarray.{name} imports from a higher layer: {sorted(upwards)}"


def test_no_import_cycles() -> None:
    try:
        TopologicalSorter(RUN_GRAPH).prepare()
    except CycleError as error:
        pytest.fail("import cycle: " + " -> ".join(error.args[1]))


def test_no_junk_drawers() -> None:
    assert not [name for name in MODULES if name.split(".")[-1].startswith(("utils", "helpers"))]


# --- What runs code from a file, or lets a module reach where it should not ---------------------

BANNED_CALLS = {
    "eval",
    "exec",
    "extractall",
    "marshal.load",
    "marshal.loads",
    "np.load",
    "numpy.load",
    "pickle.load",
    "pickle.loads",
    "shelve.open",
    "torch.load",
    "yaml.load",
    "yaml.unsafe_load",
}
INDEX_INTERNALS = {"set_xindex", "drop_indexes", "xindexes", "from_xindex"}


def banned_calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in BANNED_CALLS or called.split(".")[-1] == "extractall":
                yield f"line {node.lineno}: {called}"


def index_contacts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if node.attr in INDEX_INTERNALS or text in ("xr.Index", "xarray.Index"):
                yield f"line {node.lineno}: {text}"
    yield from (
        dotted
        for dotted in imports(tree)
        if dotted.startswith(("xarray.core", "xarray.indexes", "xarray.Index"))
        # What xarray's guide tells authors of backends to import.
        and not dotted.startswith("xarray.core.indexing")
    )


@pytest.mark.parametrize("name", MODULES)
def test_nothing_runs_code_from_a_file(name: str) -> None:
    assert not list(banned_calls(parse(name)))


# Tensors in RAM and on their way to a card, and what a loader of torch takes: classes and memory.
LOADED = {"batches", "datasets", "drawn", "iterable", "lent", "subject_patches"}
WITH_TORCH = {"tensors", "upload", *(f"patches.{name}" for name in LOADED)}


@pytest.mark.parametrize("name", sorted(set(MODULES) - WITH_TORCH))
def test_torch_in_few_modules(name: str) -> None:
    names = imports(parse_as_run(name))
    assert not [dotted for dotted in names if dotted.split(".")[0] == "torch"]


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"index.affine_index"}))
def test_index_internals_in_one_module(name: str) -> None:
    assert not list(index_contacts(parse(name)))


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("import pickle\ndef f(b): return pickle.loads(b)", banned_calls),
        ("np.load('a', allow_pickle=True)", banned_calls),
        ("archive.extractall('.')", banned_calls),
        ("array.set_xindex('x', Index)", index_contacts),
        ("from xarray.core.indexes import Index", index_contacts),
    ],
)
def test_rules_see_what_they_forbid(code: str, rule: object) -> None:
    assert list(rule(ast.parse(code)))  # type: ignore[operator]


def test_imports_inside_functions_are_seen() -> None:
    assert own_imports(ast.parse("def f():\n    from voxarray.geometry.grid import Grid")) == {
        "grid"
    }
