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
    import pyarrow.parquet

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
    return pyarrow.parquet.read_table(io.BytesIO(data)).to_pandas(types_mapper=whole.get)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
