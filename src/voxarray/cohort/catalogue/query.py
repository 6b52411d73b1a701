"""Queries over a catalogue: names of columns, literals, comparisons, ``in``, ``and``, ``or``,
``not``, and nothing else.

The text is parsed, never run: no name is looked up but those of columns, nothing has attributes,
and nothing is called. Python's own parser reads it, so that precedence and texts are Python's;
every kind of node that is not named here is refused.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from voxarray.core.caller_warnings import warn_by_code
from voxarray.core.errors import FormatError

if TYPE_CHECKING:
    import pandas as pd

_LONGEST = 10_000
"""Characters; a list of subjects may be long, and belongs into `Cohort.where` when it is longer."""

IMAGES = "images"
"""What queries call the names of all images and label maps of a subject, which are no column."""

_LABELS = "labels"

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}

_WORDS: dict[type[ast.AST], str] = {ast.BitAnd: "and", ast.BitOr: "or", ast.Invert: "not"}

# Texts are skipped, so that a backtick in one stays what it is.
_QUOTED = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|`([^`]+)`""", re.DOTALL)


def matching(table: pd.DataFrame, expression: str) -> pd.Series:
    """Whether a query holds, row by row.

    What is missing equals nothing and is neither more nor less than anything; ``not`` of that
    holds. Texts that are numbers, as columns of people's tables are, may be compared with
    numbers; an empty cell, BIDS' ``n/a`` and what else `pandas.read_csv` takes for missing
    (``NA``, ``NaN``, ``null``, ...) are missing then. Columns whose names are no Python names stand
    in backticks. `IMAGES` may stand there beside the columns.

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
    found = query.rows()
    if not found.any() and _LABELS in query.used:
        _warn_of_labels_elsewhere(table, expression)
    return found


class _Query:
    """One query and the table that it is asked of."""

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
            raise self._bad("it is not a text")
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
        """A name of Python's in place of a column in backticks."""
        if match[2] is None:
            return match[0]
        self.quoted.append(match[2])
        return f" _quoted_{len(self.quoted) - 1}_ "

    def _truth(self, node: ast.expr) -> pd.Series:
        if isinstance(node, ast.BoolOp):
            join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
            first, *rest = [self._truth(value) for value in node.values]
            for one in rest:
                first = join(first, one)
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
        """``1 < width <= 64`` holds where each of its comparisons does."""
        sides = [node.left, *node.comparators]
        found = [self._comparison(sides[n], op, sides[n + 1]) for n, op in enumerate(node.ops)]
        first, *rest = found
        for one in rest:
            first = first & one
        return first

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pd.Series:
        one, other = self._value(left), self._value(right)
        if not (_is_column(one) or _is_column(other)):
            raise self._bad("it compares values, none of which is a column")
        if not (isinstance(op, (ast.In, ast.NotIn)) and _is_column(other)):
            one, other = self._as_numbers(one, other), self._as_numbers(other, one)
        try:
            if isinstance(op, (ast.In, ast.NotIn)):
                found = self._filled(self._inside(one, other))
                return ~found if isinstance(op, ast.NotIn) else found
            if type(op) not in _COMPARE:
                raise self._bad('"is" is not understood: write ==')
            if isinstance(one, list) or isinstance(other, list):
                raise self._bad('a list can only be compared with "in" or "not in"')
            return self._filled(_COMPARE[type(op)](one, other), isinstance(op, ast.NotEq))
        except FormatError:
            raise
        except (TypeError, ValueError, ArithmeticError):
            raise self._bad(
                "it compares texts with numbers, or orders values without an order"
            ) from None

    def _as_numbers(self, one: Any, other: Any) -> Any:
        """A column of texts as numbers where those are compared with it; anything else as it is.

        Tables of participants hold texts, ages and scores among them.
        """
        if not _is_column(one):
            return one
        import pandas as pd

        if _is_number_column(one) and any(isinstance(value, str) for value in _values(other)):
            raise self._bad(f"{one.name} holds numbers: compare it with one, without quotes")
        if not _is_text_column(one):
            return one
        given = _values(other)
        if one.notna().any() and any(isinstance(value, bool) for value in given):
            raise self._bad(f"{one.name} holds texts: compare it with one, such as 'True'")
        if not _are_numbers(other):
            if not all(isinstance(value, str) for value in given):
                raise self._bad(f"{one.name} is compared with texts or with numbers, not with both")
            return one
        known = one.where(
            [not isinstance(text, str) or text.strip() not in _MISSING for text in one]
        )
        numbers = pd.to_numeric(known, errors="coerce")
        wrong = known[known.notna() & numbers.isna()]
        if len(wrong):
            raise self._bad(
                f"{one.name} holds texts such as {wrong.iloc[0]!r:.50}, which is no number: "
                "compare it with texts, in quotes"
            )
        # Not as floats, which numbers of people with more than 15 digits would share.
        values = [_number(text) if isinstance(text, str) else math.nan for text in known]
        return pd.Series(values, one.index, dtype=object, name=one.name)

    def _inside(self, one: Any, other: Any) -> pd.Series:
        if _is_column(one) and isinstance(other, list):
            if any(isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) for value in one):
                raise self._bad(
                    f"the column {one.name} holds lists: write it behind \"in\", as in 'brain' in "
                    "labels"
                )
            return one.isin(other)
        if _is_column(other) and not isinstance(one, list):
            is_text = other.notna().any() and _is_text_column(other)
            if is_text and not (_is_column(one) or isinstance(one, str)):
                raise self._bad(f"{other.name} holds texts: put {one!r} into quotes")
            holder = [one] * len(other) if not _is_column(one) else one
            return other.__class__(
                [_holds(whole, part) for whole, part in zip(other, holder, strict=True)],
                index=other.index,
                dtype=bool,
            )
        raise self._bad('behind "in" a list of values or a column of texts or lists is expected')

    def _value(self, node: ast.expr) -> Any:
        """A column, a literal, or a list of literals."""
        if isinstance(node, ast.Name):
            return self._column(node)
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            return [self._literal(one) for one in node.elts]
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
            raise self._bad(f"{self._name(node)} is not a value, and a value is expected there")
        raise self._refused(node)

    def _column(self, node: ast.Name) -> pd.Series:
        name = self._name(node)
        self.used.add(name)
        if name == IMAGES and name not in self.table.columns:
            return _images_of_subjects(self.table)
        if name not in self.table.columns:
            raise FormatError(
                f"the query {self.expression!r} names {name!r}, and there is no such column; "
                f"{self._columns()}",
                code="UNKNOWN_COLUMN",
            )
        column: pd.Series = self.table[name]
        return column

    def _name(self, node: ast.Name) -> str:
        found = re.fullmatch(r"_quoted_(\d+)_", node.id)
        if found and int(found[1]) < len(self.quoted):
            return self.quoted[int(found[1])]
        return node.id

    def _filled(self, found: pd.Series, missing: bool = False) -> pd.Series:
        """Truth without a third value."""
        return found.fillna(missing).astype(bool)

    def _refused(self, node: ast.AST) -> FormatError:
        operation: ast.AST = getattr(node, "op", node)
        word = _WORDS.get(type(operation))
        if word:
            return self._bad(f'write the word "{word}" instead of the sign')
        text = ast.get_source_segment(self.expression, node) or "" if not self.quoted else ""
        return self._bad(f"{text or type(node).__name__} is not understood")

    def _bad(self, why: str) -> FormatError:
        return FormatError(
            f"{self.expression!r:.200} is not a query: {why}. A query compares columns with texts "
            f"and numbers (==, !=, <, <=, >, >=, in, not in), joined by and, or, not; "
            f"{self._columns()}",
            code="BAD_QUERY",
        )

    def _columns(self) -> str:
        own = ", ".join(map(str, self.table.columns))
        return f"the columns are {own}; {IMAGES} holds the names of all images of the subject"


def _images_of_subjects(table: pd.DataFrame) -> pd.Series:
    """For each row, the names of its subject's images and label maps, wherever they are stored."""
    import pandas as pd

    names: dict[Any, set[str]] = {}
    columns = (table.get(name, []) for name in ("subject", "image", "labels", "status"))
    for subject, image, labels, status in zip(*columns, strict=False):
        if status == "done":
            names.setdefault(subject, set()).update([image, *labels])
    found = [sorted(names.get(subject, ())) for subject in table["subject"]]
    return pd.Series(found, table.index, dtype=object, name=IMAGES)


def _warn_of_labels_elsewhere(table: pd.DataFrame, expression: str) -> None:
    """Say so if only the place of label maps is why a query finds nothing."""
    found = _Query(table.assign(**{_LABELS: _images_of_subjects(table)}), expression).rows()
    if not found.any():
        return
    subject = table["subject"][found].iloc[0]
    own = table[(table["subject"] == subject) & (table["status"] == "done")]
    stored = [
        (name, image)
        for image, names in zip(own["image"], own[_LABELS], strict=True)
        for name in names
    ]
    example = next(
        (f"; of {subject}, the image {image} holds {name}" for name, image in stored), ""
    )
    warn_by_code(
        "LABELS_ELSEWHERE",
        f"no image matches {expression!r:.200}: label maps of the same subjects are stored with "
        f"another image, or in archives of their own{example}. {_LABELS} holds the label maps in "
        f"the archive of an image; {IMAGES} holds all images and label maps of its subject",
    )


_MISSING = {
    *("", "n/a", "N/A", "NA", "<NA>", "#N/A", "#NA", "#N/A N/A", "null", "NULL", "None"),
    *("nan", "NaN", "-nan", "-NaN", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
}
"""What tables write where there is no number: what `pandas.read_csv` takes for missing, the empty
text and BIDS' ``n/a`` among it. Where texts are asked for, they are texts like any other."""


def _is_column(value: Any) -> bool:
    return hasattr(value, "iloc")


def _number(text: str) -> int | float:
    return int(text) if re.fullmatch(r"\s*[+-]?[0-9]+\s*", text) else float(text)


def _values(given: Any) -> Sequence[Any]:
    """The literals that are compared with a column; none of another column."""
    if _is_column(given):
        return ()
    return given if isinstance(given, list) else [given]


def _is_number_column(column: Any) -> bool:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return is_numeric_dtype(column) and not is_bool_dtype(column)


def _is_text_column(column: Any) -> bool:
    return all(isinstance(value, str) for value in column.dropna())


def _are_numbers(given: Any) -> bool:
    if _is_column(given):
        return _is_number_column(given)
    found = _values(given)
    return bool(found) and all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in found
    )


def _holds(whole: Any, part: Any) -> bool:
    """Whether a list has an item, or a text another text in it; what is missing holds nothing."""
    if isinstance(whole, str):
        return isinstance(part, str) and part in whole
    if isinstance(whole, Sequence) or hasattr(whole, "tolist"):
        return part in list(whole)
    return False
