"""The sides of comparisons in queries: columns and literals, numbers and texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

MISSING = {
    *("", "n/a", "N/A", "NA", "<NA>", "#N/A", "#NA", "#N/A N/A", "null", "NULL", "None"),
    *("nan", "NaN", "-nan", "-NaN", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
}
"""What tables write where there is no number: what `pandas.read_csv` takes for missing, the empty
text and BIDS' ``n/a`` among it. Where texts are asked for, they are texts like any other."""


def is_column(value: Any) -> bool:
    """Whether a side of a comparison is a column."""
    return hasattr(value, "iloc")


def is_number(text: Any) -> bool:
    """Whether it is a text that says a number."""
    # Python alone reads "1_0" as a number; no table means one by it.
    if not isinstance(text, str) or "_" in text:
        return False
    try:
        float(text)
    except ValueError:
        return False
    return text.strip() not in MISSING


def as_number(text: str) -> int | float:
    """The number that a text says; whole ones exactly."""
    return int(text) if re.fullmatch(r"\s*[+-]?[0-9]+\s*", text) else float(text)


def literals_of(compared: Any) -> Sequence[Any]:
    """The literals that are compared with a column; empty if it is compared with a column."""
    if is_column(compared):
        return ()
    return compared if isinstance(compared, list) else [compared]


def is_number_column(column: Any) -> bool:
    """Whether a column has a type of numbers."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return is_numeric_dtype(column) and not is_bool_dtype(column)


def is_text_column(column: Any) -> bool:
    """Whether all that a column holds are texts."""
    from pandas import StringDtype

    return isinstance(column.dtype, StringDtype) or all(
        isinstance(value, str) for value in column.dropna()
    )


def are_numbers(compared: Any) -> bool:
    """Whether what is compared with a column is numbers."""
    if is_column(compared):
        return is_number_column(compared)
    literals = literals_of(compared)
    return bool(literals) and all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in literals
    )


def holds(container: Any, part: Any) -> bool:
    """Whether a list has an item, or a text contains another; a missing value contains nothing."""
    if isinstance(container, str):
        return isinstance(part, str) and part in container
    if isinstance(container, Sequence) or hasattr(container, "tolist"):
        return part in list(container)
    return False
