"""Every error code of voxarray, read from its source: what raises it, and what it says.

``python notebooks/error_codes.py`` prints the table; pages are made of `error_codes`. Nothing is
written by hand, so nothing is forgotten: ``tests/documentation/test_error_codes.py`` holds the
reader to what the package raises.
"""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

SOURCE = Path(__file__).parents[1] / "src" / "voxarray"
GUIDES = Path(__file__).parent / "pages" / "how-to"
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
        says: The message at the first place, with ``…`` for what depends on the file.
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
            found = _WARNED.match(_text(node))
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
        text = _text(given, parts)
        if " " in text and re.search(r"\w", text):
            return text
    return ""


def _text(
    value: ast.expr,
    parts: Mapping[str, ast.expr] = MappingProxyType({}),
    forms: dict[str, bool] | None = None,
) -> str:
    """The text of a literal, with a mark for what is put into it.

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
        return re.sub("…{2,}", "…", "".join(_text(one, parts, forms) for one in value.values))
    if isinstance(value, ast.FormattedValue):
        return _text(value.value, parts, forms)
    if isinstance(value, ast.BinOp):
        return _text(value.left, parts, forms) + _text(value.right, parts, forms)
    if isinstance(value, ast.IfExp):
        told = ast.dump(value.test)
        if told not in forms:
            both = [len(_text(one, parts, dict(forms))) for one in (value.body, value.orelse)]
            several = _is_of_several(value.test)
            forms[told] = both[0] >= both[1] if several is None else several
        return _text(value.body if forms[told] else value.orelse, parts, forms)
    if isinstance(value, ast.Name) and value.id in parts:
        others = {name: part for name, part in parts.items() if name != value.id}
        return _text(parts[value.id], others, forms)
    if isinstance(value, ast.Name):
        return _shared_texts().get(value.id, "…")
    return "…"


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
    """Texts that several modules put at the end of their messages, by their names."""
    tree = ast.parse((SOURCE / "core" / "error_messages.py").read_text("utf-8"))
    return {
        _name(node.targets[0]): node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


_PUT_TOGETHER = {
    "BAD_LABELS": "The name or colour of a label is invalid. Names are texts; colours are (r, g, "
    "b) from 0 to 255, or #rrggbb.",
    "CONTRADICTION": "An archive stores a fact twice, and the copies differ; the message names "
    "them. Restore the archive, or make it again as for BAD_CHECKSUM.",
    "EXTRA_FILE": "An archive holds a file that is not in its list of files (manifest.json). Move "
    "the file elsewhere.",
    "LEFTOVER": "An interrupted writer left this object in a bucket, where nothing reads it. "
    "Remove it with voxarray clean. LEFT_OVER is about files of an export.",
    "NO_THREADS": "The system starts no more threads for this process. Check the limits of "
    "memory and processes (`ulimit -v`, `ulimit -u`), or use fewer workers.",
    "UNEXPECTED": "An error that voxarray did not foresee; the message names it and its place. "
    "If the place is in your own code (a function, a transform or a reader), correct it there. "
    "Otherwise report it.",
}
"""Meanings of codes whose message is not in one place of the source."""

_EXPLAINED = {
    "AFFINE_MISMATCH": "The copies of the affine in an archive differ, or differ from its source. "
    "Restore the archive, or make it again as for BAD_CHECKSUM.",
    "INTERRUPTED": "A change of an archive was interrupted, or is still going on; the message "
    "begins with what was being changed.",
    "LABELS_ABSENT": "Archives would be made again without label maps that they hold, since no "
    "file of these label maps was found.",
    "LABELS_ALONE": "Label maps belong to a subject that has no image. Change the pattern of the "
    "images or that of the label maps, so that both give the same name of the subject.",
    "LEFT_OVER": "A folder of exported files holds files of an earlier export. LEFTOVER is about "
    "objects in a bucket.",
    "NAME_COLLISION": "A subject has two images, or an image and a label map, of one name, so a "
    "cohort cannot open it; or two images would be written to one file.",
    "NO_MAIN_GUARD": "Each worker process runs the script from its start. Put what the script does "
    'into a function, and call it under `if __name__ == "__main__":`.',
    "NOTHING_FOUND": "The sources hold no image that fits the patterns or the query, or the folder "
    "holds no archive. If no file matches the patterns, the message names the patterns, and a file "
    "that does not match.",
    "OUTDATED": "An archive was made from other source data or with other options than planned. "
    "Convert again. If label maps or notes were added to it, the message says how to keep them.",
    "PATTERNS_CHANGED": "A cohort is converted again with other patterns or columns. The "
    "message names those that were left out, and those that are new. Images that only the earlier "
    "ones find stay in the cohort as they are.",
    "PIPELINE_REPLACED": "Archives in the folder that another pipeline had made were replaced; the "
    "message begins with their number.",
    "SAME_LABELS": "Prediction and reference are the same label map; the message begins with its "
    "path. For two cohorts, it says for how many subjects this is the case.",
    "SEVERAL_SERIES": "A TIFF file holds several images. Split it. If the images are planes of one "
    "stack, write them as one image; the message says how.",
    "SOME_FAILED": "Some images or subjects failed; the others are done. The message says why each "
    "of the first few failed. Correct the causes, and run the same command again.",
    "UNKNOWN_XFORM": "The header of a NIfTI file has an unknown code for one of its two transforms "
    "(qform_code, sform_code).",
    "WORKER_STUCK": "A worker no longer finishes the images that it began. Run the same command "
    "again.",
}
"""What codes mean whose messages are put together for the most part from other texts."""

_HEADING = """# Error codes

Every error of voxarray has a `code`, which stays the same from release to release, and a message
that says what was seen, what was expected and what to do. Most warnings begin with a code, too.
This page lists all codes with their messages, read from voxarray's source code; … stands for a
value that the message fills in. If a message has several forms, the longest is shown. A traceback
has a link to the code of its error on this page. The line below a code names the classes of errors
that carry it, and the packages of voxarray that it comes from. `VoxarrayWarning` marks a warning:
nothing is interrupted. `Problem` is what `voxarray.verify` returns, and `Failure` is the entry of a
failed image in the report of a cohort. If `verify` meets an error, such as `VOXEL_MISMATCH`, it
returns a `Problem` with the code of this error. `verify` prints the name of a file or an image
before each message; therefore some messages on this page begin with a verb. A paragraph that is not
indented says what a code means. Where a class of errors has a code of its own, this paragraph
describes the class. [The classes of errors](reference/errors.md) also inherit from built-in errors.
"""


def page() -> str:
    """A page of the site, with an anchor for each code: its name in small letters."""
    where = explained()
    return _HEADING + "".join(_entry(one, where.get(one.code, {})) for one in error_codes())


def explained(guides: Path = GUIDES) -> dict[str, dict[str, str]]:
    """By code, the sections of how-to pages that tell of it: their headings by their links.

    Args:
        guides: Folder of the pages.
    """
    found: dict[str, dict[str, str]] = {}
    for page in sorted(guides.glob("*.md")):
        title = heading = anchor = ""
        # Lines of code may begin with # and hold whatever looks like a code.
        for line in re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S).split(
            "\n"
        ):
            level, _, text = line.partition(" ")
            if level and not level.strip("#"):
                title = title or text
                heading = title if level == "#" else f"{title}: {text}"
                anchor = "" if level == "#" else f"#{_slug(text)}"
            for code in re.findall(r"`([A-Z][A-Z0-9_]+)`", line):
                found.setdefault(code, {})[f"how-to/{page.name}{anchor}"] = heading
    return found


def _slug(heading: str) -> str:
    """The anchor that the site gives a heading."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def _entry(one: ErrorCode, guides: dict[str, str]) -> str:
    errors = ", ".join(f"`{error}`" for error in one.errors)
    areas = ", ".join(dict.fromkeys(module.split(".")[1] for module in one.modules))
    meaning = one.meaning or _EXPLAINED.get(one.code) or _PUT_TOGETHER.get(one.code, "")
    texts = [text for text in one.messages if text != one.meaning]
    meant = f"\n{_escaped(meaning)}\n" if meaning else ""
    messages = "".join(f"\n> {_escaped(text)}\n" for text in texts)
    head = f"\n## {one.code} {{ #{one.code.lower()} }}\n\n"
    links = ", ".join(f"[{heading}]({link})" for link, heading in guides.items())
    more = f"\nMore in {links}.\n" if links else ""
    return f"{head}{errors}{', ' * bool(errors)}from {areas}\n{meant}{messages}{more}"


def _escaped(text: str) -> str:
    """Text in which nothing is Markdown."""
    plain = html.escape(" ".join(text.split()), quote=False)
    plain = plain.replace("{", "&#123;").replace("}", "&#125;")
    return re.sub(r"([\\`*_#|\[\]~])", r"\\\1", plain)


def main() -> None:
    """Print a table in Markdown."""
    print("| code | error | says |\n| --- | --- | --- |")
    for one in error_codes():
        says = (
            (one.says or _PUT_TOGETHER[one.code])
            .replace("|", "\\|")
            .replace("\n", " ")
            .replace("<", "&lt;")
        )
        print(f"| `{one.code}` | {', '.join(f'`{error}`' for error in one.errors)} | {says} |")


if __name__ == "__main__":
    main()
