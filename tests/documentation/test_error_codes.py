"""The table of error codes is read from the source; what users meet stands in it."""

from __future__ import annotations

import ast
import pickle
import re
import sys
import tomllib
import traceback
from importlib import import_module
from pathlib import Path

import pytest

import voxarray as vx
from voxarray.core import errors
from voxarray.core.documentation import DOCUMENTATION, about_code

ROOT = Path(__file__).parents[2]
CODE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")


@pytest.fixture(scope="module")
def codes():
    """Modules of the page, which lie beside the notebooks."""
    sys.path.insert(0, str(ROOT / "notebooks"))
    try:
        return import_module("error_codes"), import_module("error_codes_page")
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def table(codes):
    return {one.code: one for one in codes[0].error_codes()}


@pytest.fixture(scope="module")
def page(codes):
    return codes[1].page()


def test_every_class_of_errors_has_its_code(table):
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.VoxarrayError):
            assert name in table[value.default_code].errors or "default_code" not in vars(value)


def test_codes_of_classes_say_what_to_do(table):
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    own = {
        one.default_code
        for one in classes
        if issubclass(one, errors.VoxarrayError) and "default_code" in vars(one)
    }
    own -= {"ERROR", "BAD_AFFINE"}  # a base, and a code that has messages of its own
    silent = {code for code in own if not any(". " in text for text in table[code].messages)}
    assert not silent, "the docstring of the class has the cause; a second paragraph, the cure"
    assert table["SOURCE_CHANGED"].messages[0].endswith("Open it again.")


def test_every_code_that_tests_expect_is_in_the_table(table):
    expected = {
        node.value: path.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for compare in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(compare, ast.Compare) and ast.unparse(compare.left).endswith(".code")
        for node in compare.comparators
        if isinstance(node, ast.Constant) and CODE.fullmatch(str(node.value))
    }
    assert len(expected) > 80
    own = {"MY_CODE"}
    assert not {code: where for code, where in expected.items() if code not in {*table, *own}}


def test_every_code_in_the_source_is_in_the_table(table):
    """By another way than the reader's: whatever looks like a code where codes stand."""
    shapes = (
        r'(?<!"")"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*): ',  # a warning, which begins with its code
        r'\bcode="([A-Z0-9_]+)"',
        r'\b(?:Problem|Failure|warn_by_code|refuse)\(\s*"([A-Z0-9_]+)"',
        r"\b(?:Raises|Warns):(?:(?!\n\n|\"\"\")[^`]|``[^`]*``)*?\(``([A-Z][A-Z0-9_]+)``",
    )
    found = {
        code: path.name
        for path in (ROOT / "src/voxarray").rglob("*.py")
        for shape in shapes
        for code in re.findall(shape, path.read_text("utf-8"))
    }
    assert len(found) > 250
    assert not {code: where for code, where in found.items() if code not in table}


def test_every_code_says_what_carries_it(table):
    assert not [code for code, one in table.items() if not one.errors]
    for code in ("MONOCHROME1", "SURFACE", "LOSSY", "TIME_LOST", "NOT_INCLUDED", "LABELS_LEFT"):
        assert table[code].errors == ("VoxarrayWarning",)
    for code in ("UNKNOWN_TRANSFORM", "OTHER_VERSION", "BAD_ARGUMENT"):
        assert table[code].errors == ("FormatError",)
    assert "VoxarrayWarning" not in table["NO_LABELS"].errors


def test_codes_lead_to_the_pages_that_tell_of_them(codes, page, tmp_path):
    (tmp_path / "a.md").write_text(
        "# Do it\n\n(`ONE`)\n\n## Well, then\n\n`TWO` and `TWO`\n\n"
        "```python\n# `THREE`\n```\n\n`x`\n"
    )
    assert codes[1].explained(tmp_path) == {
        "ONE": {"how-to/a.md": "Do it"},
        "TWO": {"how-to/a.md#well-then": "Do it: Well, then"},
    }
    link = "[Preprocess: Images on different grids](how-to/preprocess.md#images-on-different-grids)"
    for code in ("GRID_MISMATCH", "MASK_MISMATCH", "GRIDS_DIFFER"):
        entry = page.split(f"\n## {code} ")[1].split("\n## ")[0]
        assert f"More in {link}" in entry


def test_every_code_says_what_raises_it_and_why(table, codes):
    assert len(table) > 230
    silent = {code for code, one in table.items() if not one.messages}
    assert silent == codes[1].PUT_TOGETHER.keys()
    assert table["BAD_GZIP"].errors == ("ChecksumError",)
    assert "cannot be decoded (<error>)" in table["BAD_GZIP"].says
    assert {"NOT_METAIMAGE", "BAD_HEADER", "WORKER_LOST", "OUT_OF_MEMORY"} <= table.keys()


def test_messages_are_read_with_the_texts_that_are_put_into_them(table, codes):
    assert table["OTHER_FORM"].says.startswith("<path> lies in <results>, which is an archive, and")
    absent = "<number> subjects have no row in participants.tsv, such as <subjects>"
    assert absent in table["METADATA_ABSENT"].says
    assert "<number of names> images that were planned before are" in table["SOURCES_ABSENT"].says
    assert any("differs from its source" in text for text in table["NOT_COMPARED"].messages)
    assert not [code for code, one in table.items() if any("……" in x for x in one.messages)]
    explained = codes[1].EXPLAINED
    thin = {
        code
        for code, one in table.items()
        if any(
            re.match("(…|<[^<>]*>)[.;] |nothing to do: in <[^<>]*> <", text)
            for text in one.messages
        )
    }
    named = {"NOTHING_FOUND", "PIPELINE_REPLACED", "SAME_LABELS", "WORKER_STUCK"}
    assert thin == named | {"INTERRUPTED"}
    assert explained.keys() >= thin


def test_messages_take_one_form_from_begin_to_end(table):
    assert table["LOCALIZER"].says.startswith(
        "<scouts> of <number of frames> planes are localizers: move"
    )
    (refused,) = (text for text in table["LABELS_ABSENT"].messages if "not made again" in text)
    assert "which deletes them, and makes ALL" in refused
    assert "the label maps now belong to another image" in refused
    assert table["LABELS_ALONE"].says.startswith(
        "<number of orphans> label maps belong to no image"
    )
    assert table["OUTDATED"].says.endswith("(voxarray remove-labels), then <how again>")


def test_a_condition_decides_for_a_whole_message(codes, tmp_path):
    (tmp_path / "a.py").write_text(
        "def f(n, few):\n"
        "    files = 'one file is missing' if n == 1 else 'files are gone'\n"
        "    them = 'it' if few else 'all of them'\n"
        "    how = 'now and at once' if few else 'soon'\n"
        "    return Problem('A_CODE', 'a.nii', f'{files}: copy {them} {how}')\n"
    )
    (one,) = codes[0].error_codes(tmp_path)
    assert one.says == "files are gone: copy all of them soon"


def test_errors_without_a_code_are_told_below_that_of_their_class(table, page):
    for code, error in (("BAD_AFFINE", errors.GridError), ("EXISTS", errors.ArchiveExistsError)):
        assert table[code].meaning == table[code].messages[0]
        entry = page.split(f"\n## {code} ")[1].split("\n## ")[0]
        first = (error.__doc__ or "").split("\n")[0]
        assert f"\n{first}" in entry
        assert f"> {first}" not in entry
        assert entry.count("\n> ") > 4


def test_values_are_shown_by_their_names(codes, tmp_path):
    (tmp_path / "a.py").write_text(
        "def f(self, path, names, lengths, n, voxels, why):\n"
        "    listed = ', '.join(sorted(names))\n"
        "    raise FormatError(\n"
        "        f'{path!r} has {len(names)} axes ({listed}), {names[0]} of {self.size} voxels '\n"
        "        f'and {voxels.nbytes + 8} ({why}); {n} {type(voxels).__name__}{_also(path)}',\n"
        "        code='A_CODE',\n"
        "    )\n"
    )
    (one,) = codes[0].error_codes(tmp_path)
    assert one.says == (
        "<path> has <number of names> axes (<names>), <name> of <size> voxels "
        "and … (…); … <class of voxels>…"
    )


def test_braces_and_signs_of_messages_are_text_on_the_page(page):
    assert "'arguments: &#123;target: 2&#125;'" in page
    assert "&lt;path&gt;" in page
    outside = re.sub(r"```.*?```|`[^`\n]*`", "", page, flags=re.S)
    assert not re.findall(r"<[a-z]", outside), "a tag of HTML would not be shown"


def test_names_that_are_no_codes_are_left_out(table):
    assert not {"SLURM_JOB_ID", "RLIMIT_AS", "YBR_FULL", "MET_CHAR"} & table.keys()


def test_the_page_has_an_anchor_for_each(table, page):
    for code in table:
        assert f"## {code} {{ #{code.lower()} }}" in page
    assert "{" not in re.sub(r"\{ #\w+ \}", "", page), "braces are attributes in Markdown"


def test_a_traceback_links_to_it():
    with pytest.raises(errors.MissingFileError) as error:
        vx.ScalarImage("there-is-no.nii")
    assert about_code("NOT_FOUND") in "".join(traceback.format_exception(error.value))
    assert about_code("NOT_FOUND") not in str(error.value)
    copy = pickle.loads(pickle.dumps(error.value))
    assert copy.__notes__ == error.value.__notes__
    assert len(copy.__notes__) == 1


def test_the_documentation_stands_where_the_project_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["urls"]["Documentation"] == DOCUMENTATION
