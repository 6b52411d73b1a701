"""DICOM series whose files lie in several folders, each of which becomes an image of its own."""

from __future__ import annotations

from collections.abc import Iterable

from voxarray.cohort.discover.input import source_told
from voxarray.cohort.plan.item import Item
from voxarray.core.caller_warnings import warn_by_code

SERIES = "_series"
"""Fact of an image: digest of the UID of its DICOM series, so that later plans need not open it."""


def warn_of_divided(items: Iterable[Item]) -> None:
    """Warn of series that several inputs share: each may be a part of one image, or a copy of it.

    Args:
        items: Of a plan.
    """
    places: dict[str, dict[str, None]] = {}
    for item in items:
        if SERIES in item.facts:  # a table may name one folder for several images
            places.setdefault(item.facts[SERIES], {})[item.origin.source] = None
    divided = [sources for sources in places.values() if len(sources) > 1]
    if not divided:
        return
    first, second, *_ = map(source_told, divided[0])
    count = "1 DICOM series lies" if len(divided) == 1 else f"{len(divided)} DICOM series lie"
    warn_by_code(
        "SERIES_DIVIDED",
        f"{count} in several places, such as {first} and {second}, and each place becomes an image "
        "of its own, perhaps with a part of the slices. Put the files of a series into one folder; "
        "if one of them is a copy of another, leave it out",
    )
