"""A table in text, CSV or TSV; rows and columns that would be mixed up are refused."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

QUOTES = 'put a cell that holds the delimiter into quotes ("), and write a quote in a cell twice'


class TableError(ValueError):
    """A text is no table whose cells are all where its header says; the message says where."""


@dataclass(frozen=True, slots=True)
class TextTable:
    """The rows of a table.

    Attributes:
        names: Of the columns, as the header has them.
        rows: Cells by the name of their column; rows that are cut short lack some.
    """

    names: tuple[str, ...]
    rows: tuple[dict[str, str], ...]


def not_once(names: Sequence[str], wanted: str) -> TableError:
    """What is said if not exactly one column has a name that is wanted."""
    count = names.count(wanted)
    if not count:
        return TableError(f"no column is called {wanted!r}, but {', '.join(names)}")
    return TableError(f"{count} columns are called {wanted!r}: rename all but one")


def read_table(text: str, delimiter: str) -> TextTable:
    """The table that a text holds.

    Args:
        text: With a header in the first line that is not empty.
        delimiter: What stands between cells.

    Raises:
        TableError: A quote is not closed, or closed where no cell ends; a row has more cells than
            the header has names.
    """
    lines = io.StringIO(text, newline="").readlines()
    names: tuple[str, ...] = ()
    rows = []
    for first, cells, own in _records(lines, delimiter):
        if not names:
            names = tuple(cells)
            continue
        if any(cells[len(names) :]):
            raise TableError(
                f"line {first} has {len(cells)} cells, and the header has {len(names)} names: "
                f"{QUOTES}"
            )
        if len(own) > 1 and len(names) > 1 and _are_rows(own, delimiter, len(names)):
            raise TableError(
                f"a cell that begins in line {first} with a quote holds the rows that follow: "
                f"{QUOTES}"
            )
        rows.append(dict(zip(names, cells, strict=False)))
    return TextTable(names, tuple(rows))


def _records(lines: list[str], delimiter: str) -> Iterator[tuple[int, list[str], list[str]]]:
    """The number of its first line, the cells, and the lines, of each record with cells."""
    # Without `strict`, a quote that is never closed takes all that follows into its cell.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    done = 0
    try:
        for cells in reader:
            if cells:
                yield done + 1, cells, lines[done : reader.line_num]
            done = reader.line_num
    except csv.Error as error:
        raise TableError(f"{error}, in the row that begins in line {done + 1}: {QUOTES}") from None


def _are_rows(lines: Sequence[str], delimiter: str, count: int) -> bool:
    """Whether each line would be a whole row if quotes meant nothing.

    A text of several lines in a cell has another number of delimiters in most of them. Two quotes
    that are no quotes, in two rows, take what lies between them into one cell.
    """
    return all(line.count(delimiter) == count - 1 for line in lines)
