"""The storeys of the package, and what no module may do: read from the source, nothing is run."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import voxarray

ROOT = Path(__file__).parents[1] / "src" / "voxarray"

# Bottom up. A package imports from lower storeys only, not from its neighbours.
STOREYS = (
    {"core"},
    {"geometry"},
    {"storage", "source", "counting"},
    {"ops", "nifti_header", "tensors"},
    {"archive", "bridges"},
    {"formats"},
    {"statistics", "xarray_index"},
    {"saving", "rendering"},
    {"image"},
    {"subject"},
    {"transforms", "patches"},
    {"cohort"},
    {"archive_object"},
    {"inference"},
    {"cli", "testing"},
    {"__init__", "__main__"},  # the roof: names only
)
STOREY = {name: number for number, names in enumerate(STOREYS) for name in names}

# Module -> (what it imports from above, why that is right). An entry without need fails.
EXCEPTIONS = {
    "image._preprocessing": ("transforms", "shortcut methods, looked up when they are called"),
    "cli.demo": ("__init__", "it shows the public names"),
}

# Parts of `cohort`, bottom up; and what every format may import of `formats`.
COHORT = (
    "options",
    "folder",
    "enclosing",
    "discover",
    "plan",
    "catalogue",
    "run",
    "convert",
    "unchanged",
    "absent_archives",
    "verify_cohort",
    "verify_path",
    "chosen_names",
    "mapped_facts",
    "mapped_opener",
    "mapped_keys",
    "mapped_sources",
    "mapped_layers",
    "mapped_items",
    "mapped",
    "exported_names",
    "left_over_files",
    "exported_files",
    "export",
    "cohort",
)
WITHIN_COHORT = {("mapped", "cohort"): "annotation only: what Mapped.save returns"}
SHARED_BY_FORMATS = {"_voxels", "suffixes", "companions", "record"}
TRANSPORT = {"remote": {"nifti", "zarr"}}


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


def package(name: str) -> str:
    return name.split(".")[0]


def storey(name: str) -> int:
    top = package(name)
    assert top in STOREY, f"voxarray.{top} has no storey: give it one in STOREYS"
    return STOREY[top]


def upward(name: str) -> set[str]:
    """Packages on the same storey or above that a module imports."""
    return {
        package(other)
        for other in imports_of_all()[name]
        if package(other) != package(name) and storey(other) >= storey(name)
    }


def cycle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def merged(prefix: str) -> dict[str, set[str]]:
    """Imports between the parts of a package."""
    graph: dict[str, set[str]] = {}
    for name, others in imports_of_all().items():
        if name.startswith(f"{prefix}."):
            part = name.split(".")[1]
            inside = {o.split(".")[1] for o in others if o.startswith(f"{prefix}.")}
            graph.setdefault(part, set()).update(inside - {part})
    return graph


def report(violations: dict[str, list[str]]) -> str:
    """All that a rule finds, one module in a line."""
    return "\n".join(f"voxarray.{name}: {', '.join(bad)}" for name, bad in violations.items())


def breaking(rule: Callable[[str], Iterable[str]], names: Iterable[str]) -> dict[str, list[str]]:
    """Modules that break a rule, and how."""
    return {name: bad for name in names if (bad := sorted(rule(name)))}


def test_imports_point_down() -> None:
    allowed = {name: {package} for name, (package, _) in EXCEPTIONS.items()}
    bad = breaking(lambda name: upward(name) - allowed.get(name, set()), MODULES)
    assert not bad, f"imports from their own storey or above:\n{report(bad)}"


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_exceptions_are_needed(name: str) -> None:
    assert upward(name) == {EXCEPTIONS[name][0]}


def test_few_exceptions() -> None:
    assert len(EXCEPTIONS) <= 2


def test_no_cycle_between_packages() -> None:
    graph: dict[str, set[str]] = {}
    for name, others in imports_of_all().items():
        if name not in EXCEPTIONS:
            ours = graph.setdefault(package(name), set())
            ours.update(package(other) for other in others if package(other) != package(name))
    assert not cycle(graph)


def test_no_cycle_between_modules() -> None:
    assert not cycle(imports_of_all_as_run())


def test_formats_do_not_know_each_other() -> None:
    for part, others in merged("formats").items():
        if part in {"registry", "table", "plugins", "file_sets"} or part in SHARED_BY_FORMATS:
            continue
        extra = others - SHARED_BY_FORMATS - TRANSPORT.get(part, set())
        assert not extra, f"voxarray.formats.{part} imports formats.{sorted(extra)}"


def test_what_formats_share_knows_no_format() -> None:
    for part in SHARED_BY_FORMATS & merged("formats").keys():
        assert merged("formats")[part] <= SHARED_BY_FORMATS, part


def test_parts_of_cohorts_point_down() -> None:
    for part, others in merged("cohort").items():
        assert part in COHORT, f"voxarray.cohort.{part} has no place in COHORT"
        allowed = {other for here, other in WITHIN_COHORT if here == part}
        above = {o for o in others - allowed if COHORT.index(o) >= COHORT.index(part)}
        assert not above, f"voxarray.cohort.{part} imports {sorted(above)}"


def test_no_junk_drawers() -> None:
    assert not [name for name in MODULES if name.split(".")[-1].startswith(("utils", "helpers"))]


def test_files_are_small() -> None:
    long = {
        name: n for name in MODULES if (n := MODULES[name].read_text("utf-8").count("\n")) > 400
    }
    assert not long


# --- What the docstring of a package says of its modules ----------------------------------------

ROW = re.compile(r"^ {4,}(\w+) {2,}(?!#)\S")
SECOND_IN_ROW = re.compile(r"(?<=  )(\w+): ")
QUOTED = re.compile(r"(?<!`)`(\w+(?:\.\w+)*)`(?!`)")


def told_modules(docstring: str) -> Iterator[str]:
    """Names in the table of a package's modules: indented, each with what it holds."""
    for line in docstring.splitlines():
        if row := ROW.match(line):
            yield row[1]
            yield from SECOND_IN_ROW.findall(line)


def defined(name: str) -> set[str]:
    """Names that a module defines or imports at its top."""
    found = set()
    for node in parse(name)[0].body:  # type: ignore[attr-defined]
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def inside(name: str) -> list[str]:
    """A package with all its modules."""
    return [other for other in MODULES if other == name or other.startswith(f"{name}.")]


def unknown_names(name: str, docstring: str) -> set[str]:
    """What a package's docstring names and the package does not have."""
    modules = inside(name)
    bad = {told for told in told_modules(docstring) if f"{name}.{told}" not in modules}
    known = {module.split(".")[-1] for module in modules}.union(*map(defined, modules))
    known |= {*voxarray.__all__}
    for quoted in QUOTED.findall(docstring):
        module = module_of(quoted)
        if module in (None, "__init__"):
            is_known = quoted.removeprefix("voxarray.").split(".")[0] in known
        else:
            member = quoted.removeprefix(f"voxarray.{module}").removeprefix(".")
            is_known = not member or member in defined(str(module))
        if not is_known:
            bad.add(quoted)
    return bad


PACKAGES = [name for name, file in MODULES.items() if file.name == "__init__.py"]


@pytest.mark.parametrize("name", [name for name in PACKAGES if name != "__init__"])
def test_docstrings_of_packages_name_what_is_there(name: str) -> None:
    docstring = ast.get_docstring(parse(name)[0], clean=False)  # type: ignore[arg-type]
    assert not unknown_names(name, docstring or "")


REPOSITORY = ROOT.parents[1]
PAGE = REPOSITORY / "notebooks" / "pages" / "architecture.md"


@pytest.mark.parametrize("page", [PAGE, REPOSITORY / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_pages_name_files_that_are_there(page: Path) -> None:
    named = set(re.findall(r"`([\w/]+\.pyi?)`", page.read_text("utf-8")))
    assert "ops/padding.py" in named
    files = [*ROOT.rglob("*.py*"), *(REPOSITORY / "tests").rglob("*.py")]
    for folder in ("benchmarks", "notebooks"):
        files += (REPOSITORY / folder).glob("*.py")
    missing = {name for name in named if not any(file.match(name) for file in files)}
    assert not missing


def rows_of_changes() -> list[str]:
    """Rows of the tables that say where to change what."""
    section = PAGE.read_text("utf-8").split("## What a change touches\n")[1]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    return [row for row in rows if row != "| change | files |"]


def named_paths(row: str) -> Iterator[Path]:
    """Files and folders that a row names; one without a folder lies in that of the one before."""
    folder = ROOT
    for name in re.findall(r"`([\w/]+(?:\.pyi?|/)|tests/[\w/]+)`", row):
        if name.startswith(("tests/", "benchmarks/", "notebooks/", "src/")):
            path = REPOSITORY / name
        elif (folder / name).exists():
            path = folder / name
        else:
            path = ROOT / name
        yield path
        folder = path.parent if path.suffix else path


def test_each_change_names_files_and_their_tests() -> None:
    rows = rows_of_changes()
    assert len(rows) > 110
    wrong: dict[str, list[str]] = {}
    for row in rows:
        files, _, tests = row.partition("Tests: ")
        bad = [str(path) for path in named_paths(row) if not path.exists()]
        if not list(named_paths(files)) or not re.search(r"`tests/[\w/]+(\.py)?`", tests):
            bad.append("names no file, or no test")
        if bad:
            wrong[row[:60]] = bad
    assert not wrong


def test_each_folder_has_a_change_that_leads_there() -> None:
    """Folders of formats stand in the row of a format as ``formats/<name>/``."""
    files = [row.partition("Tests: ")[0] for row in rows_of_changes()]
    paths = [path for row in files for path in named_paths(row)]
    led_to = {path.parent if path.suffix else path for path in paths}
    folders = {file.parent for file in ROOT.rglob("*.py")}
    lost = {folder for folder in folders - led_to if folder.parent != ROOT / "formats"}
    assert not lost


def test_stale_names_in_docstrings_are_seen() -> None:
    table = "\n    header    the fields    reader: opening it\n    gone      nothing\n"
    assert unknown_names("formats.nrrd", table) == {"reader", "gone"}
    assert unknown_names("formats.nrrd", "`parse_gone`, `voxarray.formats.nrrd.reader`") == {
        "parse_gone",
        "voxarray.formats.nrrd.reader",
    }


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


def banned_calls(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called == "torch.load" and any(
                keyword.arg == "weights_only" and ast.unparse(keyword.value) == "True"
                for keyword in node.keywords
            ):
                continue  # numbers alone
            if called in BANNED_CALLS or called.split(".")[-1] == "extractall":
                yield f"line {node.lineno}: {called}"


def index_contacts(nodes: Sequence[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if node.attr in INDEX_INTERNALS or text in ("xr.Index", "xarray.Index"):
                yield f"line {node.lineno}: {text}"
    yield from (
        dotted
        for dotted in imports(nodes)
        if dotted.startswith(("xarray.core", "xarray.indexes", "xarray.Index"))
        # What xarray's guide tells authors of backends to import.
        and not dotted.startswith("xarray.core.indexing")
    )


def test_nothing_runs_code_from_a_file() -> None:
    bad = breaking(lambda name: banned_calls(parse(name)), MODULES)
    assert not bad, report(bad)


# Tensors in RAM and on their way to a card, and what a loader of torch takes: classes and memory.
LOADED = {"batches", "datasets", "patch_loader", "iterable", "shared_batches", "subject_patches"}
WITH_TORCH = {
    "tensors.collate",
    "tensors.convert",
    "tensors.numpy_views",
    "tensors.pinned_buffers",
    "tensors.upload",
    *(f"patches.{name}" for name in LOADED),
    *(
        f"inference.{name}"
        for name in (
            "blending",
            "function_digest",
            "loading",
            "logit_checks",
            "model_files",
            "network",
            "predictions",
            "reduction",
        )
    ),
}


def torch_imports(name: str) -> Iterator[str]:
    return (dotted for dotted in imports(parse_as_run(name)) if dotted.split(".")[0] == "torch")


def test_torch_in_few_modules() -> None:
    bad = breaking(torch_imports, sorted(set(MODULES) - WITH_TORCH))
    assert not bad, report(bad)


def test_index_internals_in_one_module() -> None:
    others = sorted(set(MODULES) - {"xarray_index.affine_index"})
    bad = breaking(lambda name: index_contacts(parse(name)), others)
    assert not bad, report(bad)


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("import pickle\ndef f(b): return pickle.loads(b)", banned_calls),
        ("np.load('a', allow_pickle=True)", banned_calls),
        ("archive.extractall('.')", banned_calls),
        ("torch.load(path, weights_only=False)", banned_calls),
        ("array.set_xindex('x', Index)", index_contacts),
        ("from xarray.core.indexes import Index", index_contacts),
    ],
)
def test_rules_see_what_they_forbid(code: str, rule: object) -> None:
    assert list(rule(tuple(ast.walk(ast.parse(code)))))  # type: ignore[operator]


def test_imports_inside_functions_are_seen() -> None:
    tree = ast.parse("def f():\n    from voxarray.geometry.grid import Grid")
    assert own_imports(imports(ast.walk(tree))) == {"geometry.grid"}


def test_imports_by_text_are_seen() -> None:
    tree = ast.parse('OPEN = "voxarray.formats.registry:open_source"')
    assert own_imports(imports_by_text(ast.walk(tree))) == {"formats.registry"}


@pytest.mark.parametrize(
    "code",
    [
        'sys.modules["voxarray"].Image',
        'sys.modules.get("voxarray")',
        'importlib.import_module("voxarray")',
        'import_module(f"voxarray.{name}")',
    ],
)
def test_modules_reached_without_an_import_are_seen(code: str) -> None:
    assert own_imports(modules_reached(ast.walk(ast.parse(code)))) == {"__init__"}


# --- The image is one class on flat parts -------------------------------------------------------

MIXINS = ("_geometry", "_plotting", "_statistics", "_conversion", "_preprocessing")


def depth(kind: type, stop: set[type]) -> int:
    return 0 if kind in stop else 1 + max(depth(base, stop) for base in kind.__bases__)


def test_image_is_three_steps_deep() -> None:
    assert depth(voxarray.LabelMap, {dict, object}) - 1 == 3


@pytest.mark.parametrize("name", MIXINS)
def test_mixins_do_not_know_each_other(name: str) -> None:
    inside = {other for other in imports_of_all()[f"image.{name}"] if other.startswith("image.")}
    assert not inside - {"image._origin", "image._external_viewer"}


def test_no_two_files_of_tests_have_one_name() -> None:
    """Pytest imports them by their names alone, and refuses to collect the second."""
    files = Path(__file__).parent.rglob("test_*.py")
    names = Counter(file.name for file in files if file.parent.name not in ("external", "slurm"))
    assert [name for name, number in names.items() if number > 1] == []
