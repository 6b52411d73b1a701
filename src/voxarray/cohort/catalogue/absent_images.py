"""Images that a cohort lists and does not hold: whoever makes something of it is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from voxarray.core.caller_warnings import warn_by_code
from voxarray.core.printable import printable

if TYPE_CHECKING:
    import pandas as pd

_STATUS: Mapping[str, str] = {"failed": "failed", "missing": "were not converted yet"}


def warn_of_absent(table: pd.DataFrame, path: str) -> None:
    """Warn that a result will lack the images that are not there, unless all are.

    Of a cohort that was finalised too early, half may be missing, and the rest looks like a whole.

    Args:
        table: Rows of the catalogue that something is made of.
        path: Of the cohort.
    """
    absent = table[table["status"] != "done"]
    if absent.empty:
        return
    counts = absent["status"].value_counts()
    why = ", ".join(f"{counts[one]} {told}" for one, told in _STATUS.items() if one in counts)
    first = printable(f"{absent.iloc[0]['subject']}/{absent.iloc[0]['image']}")
    warn_by_code(
        "IMAGES_ABSENT",
        f"{path} lists {len(table)} images, and {len(absent)} of them are not there ({why}), such "
        f"as {first}: the result will lack them. voxarray finalise brings the list up to date and "
        "says what is missing; to leave images out on purpose, choose the others by query",
    )
