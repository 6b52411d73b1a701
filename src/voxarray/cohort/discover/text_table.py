"""A table in text, CSV or TSV; broken quotes, which would shift cells, are refused."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

QUOTES = 'put a cell that holds the delimiter into quotes ("), and write a quote in a cell twice'

NOT_UTF8 = "it is not text in UTF-8: save it as such"

UTF16 = ("\udcff\udcfe", "\udcfe\udcff")
"""How a text in UTF-16 begins, if it is read as names of files are: bytes of other encodings may be
such names."""


class TableError(ValueError):
    """A text is no table, or its rows do not fit its header; the message says in which line."""


@dataclass(frozen=True, slots=True)
class TextTable:
    """The rows of a table.

    Attributes:
        names: Of the columns, as the header has them.
        rows: Cells by the name of their column; rows that are cut short lack some.
    """

    names: tuple[str, ...]
    rows: tuple[dict[str, str], ...]


def not_once(names: Sequence[str], name: str) -> TableError:
    """The error if a column is missing, or there twice."""
    count = names.count(name)
    if not count:
        return TableError(f"no column is called {name!r}; the columns are {', '.join(names)}")
    return TableError(f"{count} columns are called {name!r}: rename all but one")


def read_table(text: str, delimiter: str) -> TextTable:
    """The table in a text.

    Args:
        text: With a header in the first line that is not empty.
        delimiter: Character between cells.

    Raises:
        TableError: A quote is not closed, or closed where no cell ends; a row has more cells than
            the header has names.
    """
    lines = io.StringIO(text, newline="").readlines()
    names: tuple[str, ...] = ()
    rows = []
    for first, cells, record_lines in _records(lines, delimiter):
        if not names:
            names = tuple(cells)
            continue
        if any(cells[len(names) :]):
            raise TableError(
                f"line {first} has {len(cells)} cells, and the header has {len(names)} names: "
                f"{QUOTES}"
            )
        if (
            len(record_lines) > 1
            and len(names) > 1
            and _are_rows(record_lines, delimiter, len(names))
        ):
            raise TableError(
                f"a quote in line {first} opens a cell that takes in the rows below it, so its "
                f"closing quote may be missing: {QUOTES}"
            )
        rows.append(dict(zip(names, cells, strict=False)))
    return TextTable(names, tuple(rows))


def _records(lines: list[str], delimiter: str) -> Iterator[tuple[int, list[str], list[str]]]:
    """For each record: number of its first line, cells, and lines; empty records are left out."""
    # Without `strict`, a quote that is never closed would take all following rows into its cell.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    lines_read = 0
    try:
        for cells in reader:
            if cells:
                yield lines_read + 1, cells, lines[lines_read : reader.line_num]
            lines_read = reader.line_num
    except csv.Error as error:
        raise TableError(
            f"{error}, in the row that begins in line {lines_read + 1}: {QUOTES}"
        ) from None


def _are_rows(lines: Sequence[str], delimiter: str, count: int) -> bool:
    """Whether each line would be a complete row without regard to quotes.

    Then a cell probably holds several rows by mistake: two stray quotes, in different rows, enclose
    the rows between them. In a real text of several lines, the number of delimiters differs.
    """
    return all(line.count(delimiter) == count - 1 for line in lines)
