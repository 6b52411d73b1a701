"""Docstrings of packages, and pages about the architecture, name what is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import voxarray
from source_modules import MODULES, REPOSITORY, ROOT, module_of, parse

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
