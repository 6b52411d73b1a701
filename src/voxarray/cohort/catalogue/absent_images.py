"""Warning about images that a catalogue lists, but that have no archive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from voxarray.core.caller_warnings import warn_by_code
from voxarray.core.printable import printable

if TYPE_CHECKING:
    import pandas as pd

_STATUS: Mapping[str, str] = {"failed": "failed", "missing": "were not converted yet"}
_ONE: Mapping[str, str] = {"failed": "failed", "missing": "was not converted yet"}
_MEND: Mapping[str, str] = {
    "failed": "Its report.txt says why images failed.",
    "missing": "If more have been converted since, voxarray finalise brings the list up to date.",
}
_CONVERTED = "status == 'done'"
"""Query for the images that have an archive."""


def why_absent(table: pd.DataFrame, name: str) -> str:
    """What an error adds about a subject that the catalogue lists, but that has no archive."""
    rows = table[(table["subject"] == name) & (table["status"] != "done")]
    if rows.empty:
        return ""
    row = rows.iloc[0]
    code = f" ({row['code']})" if isinstance(row["code"], str) and row["code"] else ""
    return f"; its image {row['image']!r} {_ONE[row['status']]}{code}: see report.txt in it"


def warn_of_absent(table: pd.DataFrame, path: str) -> None:
    """Warn that a result will lack the images without an archive, if there are any.

    If a cohort was finalised too early, half of it may be missing, and the rest looks complete.

    Args:
        table: Rows of the catalogue that the result is made from.
        path: Of the cohort.
    """
    absent = table[table["status"] != "done"]
    if absent.empty:
        return
    counts = absent["status"].value_counts()
    statuses = [status for status in _STATUS if status in counts]
    why = ", ".join(
        f"{counts[status]} {(_ONE if counts[status] == 1 else _STATUS)[status]}"
        for status in statuses
    )
    images = "1 image" if len(table) == 1 else f"{len(table)} images"
    lack = "has no archive" if len(absent) == 1 else "have no archive"
    first = printable(f"{absent.iloc[0]['subject']}/{absent.iloc[0]['image']}")
    warn_by_code(
        "IMAGES_ABSENT",
        f"{path} lists {images}, and {len(absent)} of them {lack} ({why}), such as {first}: the "
        f"result will be incomplete. {' '.join(_MEND[status] for status in statuses)} To leave "
        "out images without an archive on purpose, choose the others: "
        f'--query "{_CONVERTED}", or cohort.query("{_CONVERTED}")',
    )
