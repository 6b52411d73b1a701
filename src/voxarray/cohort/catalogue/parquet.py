"""Tables on disk: Parquet that carries the sha256 of itself, replaced only where it differs."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

from voxarray.cohort.catalogue import columns
from voxarray.core.errors import ChecksumError
from voxarray.storage.small_files import read_file, write_if_other

_MARK = b"voxarray-sha256:"
_UNKNOWN = b"0" * 64
"""Stands in the file's own metadata while its digest is computed, and then makes room for it."""


def write(path: str, schema: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put a table in its place in one step; the same rows make the same bytes.

    Args:
        path: Of the file.
        schema: A `pyarrow.Schema`.
        rows: Values by column.

    Raises:
        ArchiveError: If writing fails.
    """
    import pyarrow.parquet

    buffer = io.BytesIO()
    with pyarrow.parquet.ParquetWriter(buffer, schema, store_schema=False) as writer:
        writer.write_table(columns.table(schema, rows))
        writer.add_key_value_metadata({"voxarray": (_MARK + _UNKNOWN).decode()})
    data = buffer.getvalue()
    write_if_other(path, data.replace(_MARK + _UNKNOWN, _MARK + _digest(data)))


def read(path: str) -> Any:
    """A table as a `pandas.DataFrame`.

    Raises:
        ChecksumError: If it is damaged.
        FileNotFoundError: If it is not there.
    """
    import pandas
    import pyarrow

    data = read_file(path)
    place = data.rfind(_MARK) + len(_MARK)
    stated = data[place : place + len(_UNKNOWN)]
    if _digest(data[:place] + _UNKNOWN + data[place + len(_UNKNOWN) :]) != stated:
        raise ChecksumError(
            f"{path} is not the table that was written: run voxarray finalise, which makes it "
            "again from the archives",
            path=path,
        )
    # Whole numbers stay whole where some are missing.
    whole = {pyarrow.int64(): pandas.Int64Dtype()}
    return read_table(io.BytesIO(data)).to_pandas(types_mapper=whole.get, use_threads=False)


def read_table(file: Any) -> Any:
    """A `pyarrow.Table`, read by this thread alone.

    A thread of pyarrow's may still hold a buffer of Python's after the table is there. If the
    interpreter ends at that moment, the thread cannot let go of it, and the process aborts.
    pyarrow's own `read_table` has such threads, whatever its arguments.

    Args:
        file: A path, or a file that is open for reading.
    """
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file, pre_buffer=False) as opened:
        return opened.read(use_threads=False)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
