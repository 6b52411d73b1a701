"""Tables on disk: Parquet files that hold their own sha256, replaced only if they differ."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

from voxarray.cohort.catalogue.arrow_table import arrow_table
from voxarray.core.errors import ChecksumError
from voxarray.storage.small_files import Put, read_file, write_if_other

_MARK = b"voxarray-sha256:"
_UNKNOWN = b"0" * 64
"""Placeholder in the file's metadata while its digest is computed, which then replaces it."""


def write(
    path: str, schema: Any, rows: Sequence[Mapping[str, Any]], put: Put = write_if_other
) -> None:
    """Put a table in its place in one step; the same rows make the same bytes.

    Args:
        path: Of the file.
        schema: A `pyarrow.Schema`.
        rows: Values by column.
        put: What writes its bytes.

    Raises:
        ArchiveError: If writing fails.
    """
    import pyarrow.parquet

    buffer = io.BytesIO()
    with pyarrow.parquet.ParquetWriter(buffer, schema, store_schema=False) as writer:
        writer.write_table(arrow_table(schema, rows))
        writer.add_key_value_metadata({"voxarray": (_MARK + _UNKNOWN).decode()})
    data = buffer.getvalue()
    put(path, data.replace(_MARK + _UNKNOWN, _MARK + _digest(data)))


def read(path: str) -> Any:
    """A table as a `pandas.DataFrame`.

    Raises:
        ChecksumError: If it is damaged.
        FileNotFoundError: If it is not there.
    """
    import pandas
    import pyarrow

    data = read_file(path)
    mark_end = data.rfind(_MARK) + len(_MARK)
    stated = data[mark_end : mark_end + len(_UNKNOWN)]
    if _digest(data[:mark_end] + _UNKNOWN + data[mark_end + len(_UNKNOWN) :]) != stated:
        raise ChecksumError(
            f"{path} is not the table that was written: run voxarray finalise, which makes it "
            "again from the archives",
            path=path,
        )
    # Integers stay integers though some are missing.
    types = {pyarrow.int64(): pandas.Int64Dtype()}
    return read_table(io.BytesIO(data)).to_pandas(types_mapper=types.get, use_threads=False)


def read_table(file: Any) -> Any:
    """A `pyarrow.Table`, read without pyarrow's threads.

    A thread of pyarrow may still hold a Python buffer after the table was read. If the interpreter
    ends at that moment, the thread cannot release it, and the process aborts. pyarrow's own
    `read_table` starts such threads, whatever its arguments.

    Args:
        file: A path, or a file that is open for reading.
    """
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file, pre_buffer=False) as opened:
        return opened.read(use_threads=False)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
