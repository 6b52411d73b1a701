"""A list: a text with a path or URL in each line."""

from __future__ import annotations

from collections.abc import Iterator

from voxarray.cohort.discover.text_table import NOT_UTF8, UTF16
from voxarray.core.errors import FormatError

SUFFIX = ".txt"


def entries_of(path: str) -> Iterator[str]:
    """The paths and URLs in a list, as they are written there; comments begin with ``#``.

    Raises:
        FormatError: If it is text in UTF-16 (``BAD_MANIFEST``).
    """
    # As names of files are; some editors begin a text with a mark that is no letter.
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        text = file.read()
    if text.startswith(UTF16):
        raise FormatError(
            f"the list {path} cannot be read ({NOT_UTF8}): expected a path or URL in each line",
            code="BAD_MANIFEST",
            path=path,
        )
    for line in map(str.strip, text.split("\n")):
        if line and not line.startswith("#"):
            yield line
