"""DICOM files in the folders of images that hold no pixels, such as reports and plans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from voxarray.cohort.discover.census import Census
from voxarray.cohort.discover.input import DiscoveredInput
from voxarray.cohort.plan.item import Item

WITHOUT_PIXELS = "_without_pixels"
"""Fact of an image: how many such files are in its folder, so that later plans need not open it."""

_RULE = "DICOM files without pixels, such as reports, contours and plans"


def ignore_files_without_pixels(
    items: Iterable[Item], inputs: Sequence[DiscoveredInput], census: Census
) -> None:
    """Count as ignored what a search took for parts of images, since only headers tell.

    Args:
        items: Of the plan.
        inputs: That were found.
        census: Of the search.
    """
    counts = {
        item.origin.source: item.facts[WITHOUT_PIXELS]  # of several series, each says the same
        for item in items
        if WITHOUT_PIXELS in item.facts
    }
    locations = {item.source: item.location for item in inputs} if counts else {}
    for source, count in counts.items():
        census.drop_parts(_RULE, locations[source], count)
