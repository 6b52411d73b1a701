"""The log of some images: attempts, and failures of images that were never attempted."""

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

    An image whose header could not be read was never attempted: only the plan holds its failure.
    Its event comes last, and has no time.

    Args:
        folder: Of the cohort.
        slugs: Of the images.
        complete: Whether all of them have an archive; then the plan is not read.
    """
    attempts = [record for record in journal.lines(folder.journal) if record["slug"] in slugs]
    if complete:
        return attempts
    try:
        plan = Plan.read(folder.plan)
    except MissingFileError:
        return attempts
    return attempts + [
        {
            "slug": record.slug,
            "status": FAILED,
            "key": record.key,
            "failure": record.failure.to_json(),
        }
        for record in plan.items
        if record.slug in slugs and record.failure is not None
    ]
