"""Updating the catalogue when label maps of archives in its cohort come or go."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from voxarray.cohort.catalogue import manifest_entries, parquet
from voxarray.cohort.catalogue import rows as catalogue
from voxarray.cohort.catalogue.replacement import replace_catalogue
from voxarray.cohort.folder import CohortLayout
from voxarray.core.errors import UnsupportedError
from voxarray.storage.remote.address import Address, is_url
from voxarray.storage.small_files import is_file


def refresh(archives: Iterable[str]) -> None:
    """Update the rows of some archives in the catalogues of their cohorts.

    Archives that are in no cohort, or in one without a catalogue, are left out.

    Args:
        archives: Absolute paths, or URLs.

    Raises:
        ChecksumError: If a catalogue is damaged.
        ArchiveError: If writing fails.
        UnsupportedError: The catalogue is in a bucket, where nothing locks it
            (``UNSUPPORTED_DESTINATION``).
    """
    cohorts: dict[str, list[str]] = {}
    for path in archives:
        if is_url(path):
            _require_none(path)
            continue
        folder, _ = os.path.split(os.path.realpath(path))
        root, name = os.path.split(folder)
        if name == "subjects" and os.path.isfile(CohortLayout(root).catalogue):
            cohorts.setdefault(root, []).append(os.path.realpath(path))
    for root, paths in cohorts.items():
        _refresh(CohortLayout(root), paths)


def _require_none(url: str) -> None:
    """Raise `UnsupportedError` if an archive in a bucket belongs to a cohort with a catalogue."""
    folder = Address.parse(url).parent
    if folder.name == "subjects" and is_file(CohortLayout(folder.parent.url).catalogue):
        raise UnsupportedError(
            f"the catalogue of {folder.parent.shown} is in a bucket, where it cannot be locked: "
            "change a copy of the cohort on a local disk",
            code="UNSUPPORTED_DESTINATION",
            path=folder.parent.shown,
        )


def _refresh(folder: CohortLayout, paths: list[str]) -> None:
    def read() -> list[catalogue.Row]:
        entries = manifest_entries.entries_at(paths)
        current = {f"subjects/{name}": entry for name, entry in entries.items()}
        rows = []
        for row in parquet.read(folder.catalogue).to_dict("records"):
            entry = current.get(row["archive"])
            updated = {key: _plain(value) for key, value in row.items()}
            if entry is not None and row["status"] == "done":
                updated |= {"labels": list(entry.labels), "bytes": entry.bytes}
            rows.append(updated)
        return rows

    replace_catalogue(folder, read, lambda rows: catalogue.write(folder, rows))


def _plain(value: Any) -> Any:
    """A cell as a Python value: lists for arrays, None for missing values."""
    import pandas

    if hasattr(value, "tolist"):
        value = value.tolist()
    return value if isinstance(value, list) or not pandas.isna(value) else None
