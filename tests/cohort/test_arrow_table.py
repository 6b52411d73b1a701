"""Columns of tables are those that pyarrow makes, without pandas."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxarray.cohort.catalogue.arrow_table import arrow_table

KINDS = {
    "text": (pa.string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=9)),
    "texts": (pa.list_(pa.string()), st.lists(st.none() | st.text("aé𝄞", max_size=4), max_size=4)),
    "whole": (pa.int64(), st.integers(-(1 << 63), (1 << 63) - 1)),
    "number": (pa.float64(), st.floats() | st.integers(-(1 << 53), 1 << 53)),
}
SCHEMA = pa.schema([(name, kind) for name, (kind, _) in KINDS.items()])
ROW = st.fixed_dictionaries(
    {}, optional={name: st.none() | values for name, (_, values) in KINDS.items()}
)

_PLAIN = """
import sys, pyarrow
from voxarray.cohort.catalogue import parquet
schema = pyarrow.schema([("a", pyarrow.string()), ("b", pyarrow.list_(pyarrow.string())),
                         ("c", pyarrow.int64()), ("d", pyarrow.float64())])
parquet.write(sys.argv[1], schema, [{"a": "x", "b": ["y"], "c": 1, "d": 0.5}, {}])
assert "pandas" not in sys.modules
"""


def written(made):
    """Bytes of a file, which differ where NaN and zeros differ, too."""
    buffer = io.BytesIO()
    pa.parquet.write_table(made, buffer, store_schema=False)
    return buffer.getvalue()


@given(st.lists(ROW, max_size=20))
def test_tables_equal_those_of_pyarrow(rows):
    made, oracle = arrow_table(SCHEMA, rows), pa.Table.from_pylist(rows, schema=SCHEMA)
    made.validate(full=True)
    assert written(made) == written(oracle)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("whole", np.int16(7)),
        ("whole", True),
        ("whole", 2.0),
        ("whole", 1.5),
        ("number", np.float32(0.5)),
        ("text", np.str_("a")),
        ("texts", ("a", "b")),
        ("texts", np.array(["a"])),
    ],
)
def test_values_of_other_types_are_left_to_pyarrow(name, value):
    rows = [{name: value}, {name: None}]
    try:
        oracle = pa.Table.from_pylist(rows, schema=SCHEMA)
    except pa.ArrowException as error:
        with pytest.raises(type(error)):
            arrow_table(SCHEMA, rows)
    else:
        assert arrow_table(SCHEMA, rows).equals(oracle)


@pytest.mark.parametrize(
    ("name", "value"),
    [("whole", 1 << 63), ("number", (1 << 53) + 1), ("text", 3), ("texts", 1)],
)
def test_what_does_not_fit_is_an_error_as_before(name, value):
    rows = [{name: value}]
    with pytest.raises((pa.ArrowException, OverflowError)) as known:
        pa.Table.from_pylist(rows, schema=SCHEMA)
    with pytest.raises(known.type):
        arrow_table(SCHEMA, rows)


def test_a_table_is_written_without_pandas(tmp_path):
    subprocess.run([sys.executable, "-c", _PLAIN, tmp_path / "table.parquet"], check=True)
    assert pa.parquet.read_table(tmp_path / "table.parquet").num_rows == 2
