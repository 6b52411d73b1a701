"""Updating the catalogue when label maps of archives in its cohort come or go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from voxarray.cohort.catalogue import manifest_entries, parquet
from voxarray.cohort.catalogue import rows as catalogue
from voxarray.cohort.catalogue.replaced_catalogue import replace_catalogue
from voxarray.cohort.folder import CohortLayout
from voxarray.storage.small_files import is_file, real_path


def refresh(archives: Iterable[str]) -> None:
    """Update the rows of some archives in the catalogues of their cohorts.

    Archives that are in no cohort, or in one without a catalogue, are left out.

    Args:
        archives: Absolute paths, or URLs.

    Raises:
        ChecksumError: If a catalogue is damaged.
        ArchiveError: If writing fails.
        AccessDeniedError, TransportError, UnsupportedError: What a store refuses.
    """
    cohorts: dict[str, list[str]] = {}
    for path in archives:
        path = real_path(path)
        folder = CohortLayout.around(path)
        if folder is not None and is_file(folder.catalogue):
            cohorts.setdefault(folder.root, []).append(path)
    for root, paths in cohorts.items():
        _refresh(CohortLayout(root), paths)


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

    replace_catalogue(folder, read, lambda rows, put: catalogue.write(folder, rows, put))


def _plain(value: Any) -> Any:
    """A cell as a Python value: lists for arrays, None for missing values."""
    import pandas

    if hasattr(value, "tolist"):
        value = value.tolist()
    return value if isinstance(value, list) or not pandas.isna(value) else None
