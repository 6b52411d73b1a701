"""The storeys of the package, read from its source; nothing is run."""

from __future__ import annotations

import ast
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import voxarray
from source_modules import (
    MODULES,
    breaking,
    imports,
    imports_by_text,
    imports_of_all,
    imports_of_all_as_run,
    modules_reached,
    own_imports,
    report,
)

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
