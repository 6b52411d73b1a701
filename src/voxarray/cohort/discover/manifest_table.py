"""A manifest: a table (CSV, TSV or Parquet) with a row per subject."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from voxarray.cohort.discover.census import Census
from voxarray.cohort.discover.input import DiscoveredInput, stem
from voxarray.cohort.discover.text_table import NOT_UTF8, TableError, not_once, read_table
from voxarray.cohort.options import ArchiveOptions, InputSelection
from voxarray.core.errors import FormatError, UnsupportedError
from voxarray.storage.remote.address import Address, as_local, is_url

SUFFIXES = (".csv", ".tsv", ".parquet")

_IMAGE = ("image", "path", "file", "filename", "scan")
_LABEL = ("label", "labels", "mask", "seg", "segmentation")
_SUBJECT = ("subject", "subject_id", "participant_id", "patient_id", "case", "id")

Row = Mapping[str, Any]


def found_in(
    path: str, choice: InputSelection, options: ArchiveOptions, census: Census
) -> Iterator[DiscoveredInput]:
    """The images that a manifest lists.

    Paths are relative to the manifest. If the user names no columns, ``image``, ``path`` or
    ``file`` hold images, ``label``, ``mask`` or ``seg`` label maps, and ``subject`` or ``id`` the
    name of the subject.

    Raises:
        FormatError: If it cannot be read, a column is missing, or a column that is used is there
            twice (``BAD_MANIFEST``).
    """
    names, rows = _names_and_rows(path)
    images = list(choice.image_columns) or [name for name in names if name.lower() in _IMAGE]
    labels = list(choice.label_columns) or [name for name in names if name.lower() in _LABEL]
    subject = choice.subject_column or next((n for n in names if n.lower() in _SUBJECT), None)
    used = [*images, *labels, *([subject] if subject else [])]
    missing = [name for name in used if name not in names]
    if rows and (missing or not images):
        problem = f"but not {', '.join(missing)}" if missing else "and none of these names images"
        raise FormatError(
            f"the manifest {path} has the columns {', '.join(names)}, {problem}: say which columns "
            "to use with --image-column, --label-column and --subject-column",
            code="BAD_MANIFEST",
            path=path,
        )
    for name in (*used, *options.keep_metadata):
        if names.count(name) > 1:
            raise _unreadable(path, str(not_once(names, name)))
    folder = os.path.dirname(os.path.abspath(path))
    for row in rows:
        metadata = {name: row.get(name) for name in options.keep_metadata if name in names}
        cells = [(name, str(row[name])) for name in (*images, *labels) if row.get(name)]
        if not cells and any(row.values()):
            census.ignore("rows of a manifest that name no image")
        subject_cell = row.get(subject) if subject else None
        for name, cell in cells:
            location = location_of(cell, folder)
            source = name_of(location, folder)
            yield DiscoveredInput(
                subject=_text(subject_cell)
                or stem(name_of(location_of(cells[0][1], folder), folder)),
                image=name,
                kind="label" if name in labels or options.labels_only else "intensity",
                source=source,
                location=location,
                kept=metadata,
                is_relative=is_relative(cell),
            )


def columns_of(path: str) -> frozenset[str]:
    """Names of the columns of a manifest.

    Raises:
        FormatError: If it cannot be read (``BAD_MANIFEST``).
    """
    return frozenset(_names_and_rows(path)[0])


def _text(cell: Any) -> str:
    """A cell as text; the number 0 is a name, too, and not empty."""
    return "" if cell is None else str(cell)


def name_of(location: str, folder: str) -> str:
    """Name of an input: its path below a folder; outside of it, its last two parts."""
    if is_url(location):
        try:
            address = Address.parse(location)
        except UnsupportedError:  # it cannot be opened, but the error needs a name
            return location.partition("?")[0].rpartition("/")[2] or "?"
        return "/".join(address.path.split("/")[-2:]) or address.shown.partition("://")[2].strip(
            "/"
        )
    relative = os.path.relpath(location, folder)
    if relative.startswith(os.pardir):
        return "/".join(os.path.abspath(location).split(os.sep)[-2:])
    return relative.replace(os.sep, "/")


def location_of(cell: str, folder: str) -> str:
    """Location of an entry of a table or list; paths are relative to the folder of the table."""
    with suppress(UnsupportedError):  # opening this image reports the error
        cell = as_local(cell)
    return cell if is_url(cell) else os.path.join(folder, os.path.expanduser(cell))


def is_relative(cell: str) -> bool:
    """Whether an entry of a table or list is a path that begins at its folder."""
    with suppress(UnsupportedError):
        cell = as_local(cell)
    return not is_url(cell) and not os.path.isabs(os.path.expanduser(cell))


def _names_and_rows(path: str) -> tuple[Sequence[str], Sequence[Row]]:
    """Names of the columns, which may be there twice, and the rows."""
    try:
        if path.lower().endswith(".parquet"):
            import pyarrow.parquet

            # Without pyarrow's threads, which may outlive the interpreter and make it abort.
            with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
                table = file.read(use_threads=False)
            return table.column_names, [_plain(row) for row in table.to_pylist()]
        delimiter = "\t" if path.lower().endswith(".tsv") else ","
        with open(path, newline="", encoding="utf-8-sig") as file:
            text = read_table(file.read(), delimiter)
        return text.names, text.rows
    except TableError as error:
        raise _unreadable(path, str(error)) from None
    except UnicodeDecodeError:
        raise _unreadable(path, NOT_UTF8) from None
    except ValueError as error:  # Arrow's errors are ValueErrors, too
        raise _unreadable(path, type(error).__name__) from None


def _unreadable(path: str, why: str) -> FormatError:
    return FormatError(
        f"the manifest {path} cannot be read as a table ({why}): expected CSV, TSV or Parquet with "
        "a header",
        code="BAD_MANIFEST",
        path=path,
    )


def _plain(row: Row) -> Row:
    """A row of Parquet as numbers and texts: dates and decimals become texts, NaN becomes None."""
    return {name: _plain_cell(cell) for name, cell in row.items()}


def _plain_cell(cell: Any) -> bool | int | float | str | None:
    if cell is None or cell != cell:
        return None
    if isinstance(cell, bytes):  # of programs that do not mark texts as such
        return cell.decode("utf-8", "surrogateescape")
    return cell if isinstance(cell, (bool, int, float, str)) else str(cell)
