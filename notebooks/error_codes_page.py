"""The page of the site with all error codes: what they mean, their messages, and guides."""

from __future__ import annotations

import html
import re
from pathlib import Path

from error_codes import ErrorCode, error_codes
from error_meanings import EXPLAINED, PUT_TOGETHER

GUIDES = Path(__file__).parent / "pages" / "how-to"

_HEADING = """# Error codes

Every error of voxarray has a `code`, which stays the same from release to release, and a message
that says what was seen, what was expected and what to do. Most warnings begin with a code, too.
This page lists all codes with their messages, read from voxarray's source code. `<path>`
stands for a path that the message fills in, `<number of names>` for a number, and so on; … stands
for other values, and for further words. If a message has several forms, the longest
is shown. A traceback
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
    meaning = one.meaning or EXPLAINED.get(one.code) or PUT_TOGETHER.get(one.code, "")
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
    plain = re.sub(r"([\\`*_#|\[\]~])", r"\\\1", plain)
    return plain.replace("{", "&#123;").replace("}", "&#125;")
