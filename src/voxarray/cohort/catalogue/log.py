"""The log of some images: what was tried, and why an image was never tried at all."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from voxarray.cohort.catalogue import journal
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.plan import Plan
from voxarray.core.errors import MissingFileError

FAILED = "failed"


def events(folder: CohortLayout, slugs: Set[str], *, complete: bool) -> list[dict[str, Any]]:
    """Events of images, oldest first.

    An image whose header could not be read was never tried: only the plan says why. Its event
    comes last, and has no time.

    Args:
        folder: Of the cohort.
        slugs: Of the images.
        complete: Whether all of them are there; then the plan is not read.
    """
    found = [one for one in journal.lines(folder.journal) if one["slug"] in slugs]
    if complete:
        return found
    try:
        plan = Plan.read(folder.plan)
    except MissingFileError:
        return found
    return found + [
        {"slug": one.slug, "status": FAILED, "key": one.key, "failure": one.failure.to_json()}
        for one in plan.items
        if one.slug in slugs and one.failure is not None
    ]
