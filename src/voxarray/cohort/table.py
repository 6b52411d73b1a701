"""Tables on disk: Parquet whose pages carry checksums, replaced only where they differ."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from voxarray.disk import refusal
from voxarray.errors import ChecksumError
from voxarray.writers.whole_file import whole_file


def write(path: str, schema: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put a table in its place in one step; the same rows make the same bytes.

    Args:
        path: Of the file.
        schema: A `pyarrow.Schema`.
        rows: Values by column.

    Raises:
        ArchiveError: What the disk refuses.
    """
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    table = pyarrow.Table.from_pylist(list(rows), schema=schema)
    pyarrow.parquet.write_table(table, buffer, write_page_checksum=True)
    replace(path, buffer.getvalue())


def replace(path: str, data: bytes) -> None:
    """Write a small file in one step, unless it holds the same bytes."""
    try:
        with open(path, "rb") as file:
            if file.read() == data:
                return
    except FileNotFoundError:
        pass
    except OSError as error:
        raise refusal(error, path) from error
    with whole_file(path, overwrite=True) as file:
        file.write(data)


def read(path: str) -> Any:
    """A table as a `pandas.DataFrame`.

    Raises:
        ChecksumError: If it is damaged.
    """
    import pandas
    import pyarrow.parquet

    # Whole numbers stay whole where some are missing.
    whole = {pyarrow.int64(): pandas.Int64Dtype()}
    try:
        table = pyarrow.parquet.read_table(path, page_checksum_verification=True)
        return table.to_pandas(types_mapper=whole.get)
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ChecksumError(
            f"{path} is not the table that was written: run voxarray finalise, which makes it "
            "again from the archives",
            path=path,
        ) from None
