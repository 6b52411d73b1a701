"""The page of public names: as its script makes it, complete, and with tests that use the names."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import click
import pytest

import voxarray as vx
from voxarray.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "notebooks"))
    try:
        import public_members

        yield public_members
    finally:
        sys.path.remove(str(ROOT / "notebooks"))
        sys.modules.pop("public_members", None)


def words(script, module: str) -> set[str]:
    """Names, members, commands and options of a module, and codes of its errors."""
    groups = {**script.python_names(), **script.command_names()}[module]
    names = {name.split(".")[-1].removeprefix("voxarray ") for name in groups}
    errors = [getattr(vx, name) for name in names & {*vx.__all__} if name.endswith("Error")]
    return names.union(*groups.values(), (error.default_code for error in errors))


def files_of_tests(script, module: str) -> list[Path]:
    folder = ROOT
    found = []
    for name in script.TESTS[module].split():
        found.append((ROOT if "/" in name else folder) / name)
        folder = found[-1].parent
    return found


def test_the_page_is_what_the_script_makes(script):
    assert script.PAGE.read_text("utf-8") == script.page(), "run notebooks/public_members.py"


def test_every_module_has_tests_that_use_what_it_defines(script):
    modules = script.python_names().keys() | script.command_names().keys()
    assert modules == script.TESTS.keys()
    wrong = {}
    for module in modules:
        assert (script.SOURCE / module).is_file()
        used = re.compile("|".join(rf"(?<!\w){re.escape(one)}\b" for one in words(script, module)))
        for file in files_of_tests(script, module):
            if not file.is_file() or not used.search(file.read_text("utf-8")):
                wrong[module] = file.name
    assert not wrong


def test_every_public_name_and_member_is_told(script):
    told = {name for groups in script.python_names().values() for name in groups}
    assert {*vx.__all__} - told == {"__version__", "patches", "source", "testing", "transforms"}
    members: dict[str, set[str]] = {}
    for groups in script.python_names().values():
        for name, own in groups.items():
            members.setdefault(name, set()).update(own)
    dict_members = {"fromkeys", "get", "items", "keys", "values"}
    for cls in (vx.Image, vx.Subject, vx.Archive, vx.Grid):
        public = {name for name, _ in inspect.getmembers_static(cls) if not name.startswith("_")}
        assert public - members[cls.__name__] - {*dir(dict)} - dict_members == set()


def test_every_option_is_told(script):
    told = {
        option
        for groups in script.command_names().values()
        for options in groups.values()
        for option in options
    }
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        options = {one for parameter in command.params for one in parameter.opts}
        long = {one for one in options if one.startswith("--")}
        assert long - told - {"--help"} == set(), name
