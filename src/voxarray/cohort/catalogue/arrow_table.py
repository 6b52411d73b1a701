"""An Arrow table from rows of Python values, made without importing pandas.

`pyarrow.array` imports pandas, if it is installed, to see whether values are a pandas column. That
takes a quarter of a second at the end of each command that writes a catalogue. So the buffers of
the types in catalogues are made here, and `pyarrow.array` only gets other values.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

_EXACT = 1 << 53
"""Integers up to here are exact as floats; for others `pyarrow.array` raises the error."""

_MAX_TEXT_BYTES = 1 << 31
"""Bytes of a column of texts that pyarrow's usual type cannot hold."""


def arrow_table(schema: Any, rows: Sequence[Mapping[str, Any]]) -> Any:
    """A `pyarrow.Table`, the same as ``Table.from_pylist(rows, schema)``.

    Args:
        schema: A `pyarrow.Schema`.
        rows: Values by column; a missing one is null.

    Raises:
        pyarrow.ArrowException: If a value does not fit its column.
    """
    import pyarrow

    columns = [_column([row.get(field.name) for row in rows], field.type) for field in schema]
    return pyarrow.Table.from_arrays(columns, schema=schema)


def _column(values: Sequence[Any], kind: Any) -> Any:
    import pyarrow

    makers: dict[Any, Callable[[Sequence[Any]], Any]] = {
        pyarrow.string(): _texts,
        pyarrow.list_(pyarrow.string()): _lists,
        pyarrow.int64(): _whole_numbers,
        pyarrow.float64(): _numbers,
    }
    maker = makers.get(kind)
    array = maker(values) if maker else None
    return pyarrow.array(values, kind) if array is None else array


def _texts(values: Sequence[Any]) -> Any:
    if not _are(values, str):
        return None
    try:
        encoded = [b"" if value is None else value.encode() for value in values]
    except UnicodeEncodeError:
        return None
    lengths = [len(text) for text in encoded]
    if sum(lengths) >= _MAX_TEXT_BYTES:
        return None
    import pyarrow

    return _array(pyarrow.string(), values, [_offsets(lengths), b"".join(encoded)])


def _lists(values: Sequence[Any]) -> Any:
    if not _are(values, list):
        return None
    import pyarrow

    members = _texts([text for value in values if value for text in value])
    if members is None:
        return None
    offsets = _offsets([len(value or ()) for value in values])
    return _array(pyarrow.list_(pyarrow.string()), values, [offsets], [members])


def _whole_numbers(values: Sequence[Any]) -> Any:
    if not _are(values, int) or any(not -(1 << 63) <= (value or 0) < 1 << 63 for value in values):
        return None
    import pyarrow

    return _array(pyarrow.int64(), values, [np.array([value or 0 for value in values], "<i8")])


def _numbers(values: Sequence[Any]) -> Any:
    if not _are(values, int, float):
        return None
    if any(type(value) is int and abs(value) > _EXACT for value in values):
        return None
    import pyarrow

    filled = [0.0 if value is None else value for value in values]
    return _array(pyarrow.float64(), values, [np.array(filled, "<f8")])


def _are(values: Sequence[Any], *kinds: type) -> bool:
    """Whether all values are null or of exactly these types; booleans are no integers here."""
    return {type(value) for value in values} <= {type(None), *kinds}


def _offsets(lengths: Sequence[int]) -> Any:
    return np.fromiter(itertools.accumulate(lengths, initial=0), "<i4", len(lengths) + 1)


def _array(kind: Any, values: Sequence[Any], buffers: Sequence[Any], children: Any = None) -> Any:
    import pyarrow

    validity = np.packbits(
        np.array([value is not None for value in values], bool), bitorder="little"
    )
    parts = [pyarrow.py_buffer(buffer) for buffer in (validity, *buffers)]
    return pyarrow.Array.from_buffers(kind, len(values), parts, children=children)
