"""Queries over a catalogue: names of columns, literals, comparisons, ``in``, ``and``, ``or``,
``not``, and nothing else.

The text is parsed and never run: only names of columns are looked up, no attributes are read, and
nothing is called. Python's parser reads it, so that precedence and quoting are those of Python;
every kind of node that is not handled here is refused.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from voxarray.cohort.catalogue.query_values import (
    MISSING,
    are_numbers,
    as_number,
    holds,
    is_column,
    is_number,
    is_number_column,
    is_text_column,
    literals_of,
)
from voxarray.cohort.catalogue.rows import COLUMNS
from voxarray.core.caller_warnings import warn_by_code
from voxarray.core.errors import FormatError

if TYPE_CHECKING:
    import pandas as pd

_LONGEST = 10_000
"""Characters of a query, which may list many subjects; longer lists belong into `Cohort.where`."""

IMAGES = "images"
"""Name in queries for the names of all images and label maps of a subject; it is no column."""

_LABELS = "labels"

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}

_ORDERS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)

_WORDS: dict[type[ast.AST], str] = {ast.BitAnd: "and", ast.BitOr: "or", ast.Invert: "not"}

# Matches quoted texts, too, so that backticks inside them are not replaced.
_QUOTED = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|`([^`]+)`""", re.DOTALL)


def matching(table: pd.DataFrame, expression: str) -> pd.Series:
    """Whether a query holds, row by row.

    A comparison with a missing value is false, so its ``not`` is true. Columns of texts that are
    numbers, as in tables of participants, may be compared with numbers; then an empty cell, BIDS'
    ``n/a`` and all that `pandas.read_csv` takes for missing (``NA``, ``NaN``, ``null``, ...) count
    as missing. Names of columns that are no Python identifiers are put in backticks. `IMAGES` may
    be used like a column.

    Args:
        table: The catalogue.
        expression: Such as ``"modality == 'MR' and spacing_max < 2"``.

    Raises:
        FormatError: It is no query (``BAD_QUERY``), or names a column that there is not
            (``UNKNOWN_COLUMN``).

    Warns:
        VoxarrayWarning: No row matches, and some would if ``labels`` held all label maps of the
            subject (``LABELS_ELSEWHERE``).
    """
    query = _Query(table, expression)
    rows = query.rows()
    if not rows.any() and _LABELS in query.used:
        _warn_of_labels_elsewhere(table, expression)
    return rows


class _Query:
    """One query and its table."""

    def __init__(self, table: pd.DataFrame, expression: str) -> None:
        self.table, self.expression = table, expression
        self.quoted: list[str] = []
        self.used: set[str] = set()

    def rows(self) -> pd.Series:
        tree = self._parsed()
        try:
            return self._truth(tree)
        except RecursionError:
            raise self._bad("it is nested too deeply") from None

    def _parsed(self) -> ast.expr:
        if not isinstance(self.expression, str):
            raise self._bad("it is not a str")
        if len(self.expression) > _LONGEST:
            raise self._bad(f"it has {len(self.expression)} characters, more than {_LONGEST}")
        text = _QUOTED.sub(self._placed, self.expression).strip()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of escapes in texts
                return ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError) as error:
            raise self._bad(getattr(error, "msg", None) or str(error)) from None
        except (RecursionError, MemoryError):
            raise self._bad("it is nested too deeply") from None

    def _placed(self, match: re.Match[str]) -> str:
        """A Python identifier in place of a column in backticks."""
        if match[2] is None:
            return match[0]
        self.quoted.append(match[2])
        return f" _quoted_{len(self.quoted) - 1}_ "

    def _truth(self, node: ast.expr) -> pd.Series:
        if isinstance(node, ast.BoolOp):
            join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
            first, *others = [self._truth(value) for value in node.values]
            for operand in others:
                first = join(first, operand)
            return first
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self._truth(node.operand)
        if isinstance(node, ast.Compare):
            return self._chain(node)
        if isinstance(node, ast.Name):
            column = self._column(node)
            if all(str(value) in ("True", "False") for value in column.dropna()):
                return column.map(lambda value: str(value) == "True").astype(bool)
            raise self._bad(f"{self._name(node)} alone is not a condition: compare it")
        raise self._refused(node)

    def _chain(self, node: ast.Compare) -> pd.Series:
        """A chain such as ``1 < width <= 64``, which holds where each of its comparisons does."""
        sides = [node.left, *node.comparators]
        comparisons = [
            self._comparison(sides[n], op, sides[n + 1]) for n, op in enumerate(node.ops)
        ]
        first, *others = comparisons
        for comparison in others:
            first = first & comparison
        return first

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pd.Series:
        left_value, right_value = self._value(left), self._value(right)
        if not (is_column(left_value) or is_column(right_value)):
            raise self._bad("none of the values that it compares is a column")
        if not (isinstance(op, (ast.In, ast.NotIn)) and is_column(right_value)):
            ordered = isinstance(op, _ORDERS)
            left_value, right_value = (
                self._as_numbers(left_value, right_value, ordered=ordered),
                self._as_numbers(right_value, left_value, ordered=ordered),
            )
        try:
            if isinstance(op, (ast.In, ast.NotIn)):
                is_inside = self._filled(self._inside(left_value, right_value))
                return ~is_inside if isinstance(op, ast.NotIn) else is_inside
            if type(op) not in _COMPARE:
                raise self._bad('"is" is not understood: write ==')
            if isinstance(left_value, list) or isinstance(right_value, list):
                raise self._bad('a list can only be compared with "in" or "not in"')
            for side in (left_value, right_value):
                if is_column(side):
                    self._refuse_lists(side)
            return self._filled(
                _COMPARE[type(op)](left_value, right_value), isinstance(op, ast.NotEq)
            )
        except FormatError:
            raise
        except (TypeError, ValueError, ArithmeticError):
            raise self._bad(
                "it compares text with numbers, or orders values that have no order"
            ) from None

    def _as_numbers(self, column: Any, compared: Any, *, ordered: bool) -> Any:
        """A column of texts as numbers, if it is compared with numbers; anything else unchanged.

        Tables of participants hold texts only, also for ages and scores. If two of them are
        ordered, such as an age and an age of onset, they are numbers, too.
        """
        if not is_column(column):
            return column
        import pandas as pd

        if is_number_column(column) and any(
            isinstance(value, str) for value in literals_of(compared)
        ):
            raise self._bad(f"{column.name} holds numbers: leave out the quotes")
        if not is_text_column(column):
            return column
        literals = literals_of(compared)
        if column.notna().any() and any(isinstance(value, bool) for value in literals):
            raise self._bad(f"{column.name} holds text: compare it with text, such as 'True'")
        both_kept = ordered and _is_kept_number(column) and _is_kept_number(compared)
        if not (are_numbers(compared) or both_kept):
            if ordered and column.name not in COLUMNS:
                self._refuse_number_as_text(column, literals)
            if not all(isinstance(value, str) for value in literals):
                raise self._bad(
                    f"compare {column.name} either with text or with numbers, not with both"
                )
            return column
        present = column.where(
            [not isinstance(text, str) or text.strip() not in MISSING for text in column]
        )
        numbers = pd.to_numeric(present, errors="coerce")
        invalid = present[present.notna() & numbers.isna()]
        if len(invalid):
            raise self._bad(
                f"{column.name} holds text, such as {invalid.iloc[0]!r:.50}, and not only numbers: "
                "compare it with text in quotes"
            )
        # Not as floats, which would make identifiers of more than 15 digits equal.
        values = [as_number(text) if isinstance(text, str) else math.nan for text in present]
        return pd.Series(values, column.index, dtype=object, name=column.name)

    def _refuse_number_as_text(self, column: pd.Series, literals: Sequence[Any]) -> None:
        """Refuse to order numbers by their letters, where ``"10" < "9"`` holds, and n/a is above.

        Equality stays: an identifier may well be compared with ``'007'``. So do the catalogue's
        own columns of texts, such as the name of the subject.
        """
        number = next((text for text in literals if is_number(text)), None)
        if number is None:
            return
        if _is_kept_number(column) and any(map(is_number, column)):
            raise self._bad(
                f"{column.name} holds numbers, and {number!r} in quotes would order them by their "
                f"letters: write {number} without quotes"
            )

    def _refuse_lists(self, column: pd.Series) -> None:
        if column.dtype != object:  # no other type holds lists
            return
        if any(isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) for value in column):
            raise self._bad(
                f'the column {column.name} holds lists: write the column after "in", as in '
                "'brain' in labels"
            )

    def _inside(self, item: Any, container: Any) -> pd.Series:
        if is_column(item) and isinstance(container, list):
            self._refuse_lists(item)
            return item.isin(container)
        if is_column(container) and not isinstance(item, list):
            is_text = container.notna().any() and is_text_column(container)
            if is_text and not (is_column(item) or isinstance(item, str)):
                raise self._bad(f"{container.name} holds text: put {item!r} into quotes")
            holder = [item] * len(container) if not is_column(item) else item
            return container.__class__(
                [holds(whole, part) for whole, part in zip(container, holder, strict=True)],
                index=container.index,
                dtype=bool,
            )
        raise self._bad('after "in", give a list of values, or a column of text or lists')

    def _value(self, node: ast.expr) -> Any:
        """A column, a literal, or a list of literals."""
        if isinstance(node, ast.Name):
            return self._column(node)
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            return [self._literal(element) for element in node.elts]
        return self._literal(node)

    def _literal(self, node: ast.expr) -> Any:
        sign = 1
        while isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            sign = -sign if isinstance(node.op, ast.USub) else sign
            node = node.operand
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float)):
            if sign == 1:
                return node.value
            if not isinstance(node.value, (str, bool)):
                return -node.value
        if isinstance(node, ast.Name):
            raise self._bad(f"a value is expected in place of {self._name(node)}")
        raise self._refused(node)

    def _column(self, node: ast.Name) -> pd.Series:
        name = self._name(node)
        self.used.add(name)
        if name == IMAGES and name not in self.table.columns:
            return _images_of_subjects(self.table)
        if name not in self.table.columns:
            raise FormatError(
                f"the query {self.expression!r} names the column {name!r}, which does not exist; "
                f"{self._columns()}",
                code="UNKNOWN_COLUMN",
            )
        column: pd.Series = self.table[name]
        return column

    def _name(self, node: ast.Name) -> str:
        match = re.fullmatch(r"_quoted_(\d+)_", node.id)
        if match and int(match[1]) < len(self.quoted):
            return self.quoted[int(match[1])]
        return node.id

    def _filled(self, truth: pd.Series, missing: bool = False) -> pd.Series:
        """Truth values without missing ones."""
        return truth.fillna(missing).astype(bool)

    def _refused(self, node: ast.AST) -> FormatError:
        operation: ast.AST = getattr(node, "op", node)
        word = _WORDS.get(type(operation))
        if word:
            return self._bad(f'write the word "{word}" instead of the sign')
        text = ast.get_source_segment(self.expression, node) or "" if not self.quoted else ""
        return self._bad(f"{text or type(node).__name__} is not understood")

    def _bad(self, why: str) -> FormatError:
        return FormatError(
            f"{self.expression!r:.200} is not a query: {why}. A query compares columns with text "
            f"and numbers (==, !=, <, <=, >, >=, in, not in), joined by and, or, not; "
            f"{self._columns()}",
            code="BAD_QUERY",
        )

    def _columns(self) -> str:
        names = ", ".join(map(str, self.table.columns))
        return f"the columns are {names}; {IMAGES} holds the names of all images of the subject"


def _images_of_subjects(table: pd.DataFrame) -> pd.Series:
    """For each row, the names of its subject's images and label maps, wherever they are stored."""
    import pandas as pd

    names: dict[Any, set[str]] = {}
    columns = (table.get(name, []) for name in ("subject", "image", "labels", "status"))
    for subject, image, labels, status in zip(*columns, strict=False):
        if status == "done":
            names.setdefault(subject, set()).update([image, *labels])
    images_of_row = [sorted(names.get(subject, ())) for subject in table["subject"]]
    return pd.Series(images_of_row, table.index, dtype=object, name=IMAGES)


def _is_kept_number(column: Any) -> bool:
    """Whether a column of texts that was kept from headers or tables holds numbers, or nothing."""
    return (
        is_column(column)
        and column.name not in COLUMNS
        and is_text_column(column)
        and all(is_number(text) or text.strip() in MISSING for text in column.dropna())
    )


def _warn_of_labels_elsewhere(table: pd.DataFrame, expression: str) -> None:
    """Say so if only the place of label maps is why a query finds nothing."""
    matches = _Query(table.assign(**{_LABELS: _images_of_subjects(table)}), expression).rows()
    if not matches.any():
        return
    subject = table["subject"][matches].iloc[0]
    rows = table[(table["subject"] == subject) & (table["status"] == "done")]
    stored = [
        (name, image)
        for image, names in zip(rows["image"], rows[_LABELS], strict=True)
        for name in names
    ]
    example = next(
        (f"; of {subject}, the image {image} holds {name}" for name, image in stored), ""
    )
    warn_by_code(
        "LABELS_ELSEWHERE",
        f"no image matches {expression!r:.200}. Write {IMAGES} instead of {_LABELS} in the query: "
        f"{_LABELS} names only the label maps stored in the row's own archive{example}; {IMAGES} "
        "names all images and label maps of the subject",
    )
