"""Images whose archives another process has replaced or removed during a run."""

from __future__ import annotations

from collections.abc import Sequence

from voxarray.cohort.catalogue.finalise import Summary
from voxarray.cohort.catalogue.part_failures import Failed
from voxarray.cohort.plan.item import Failure, Item
from voxarray.cohort.run.result_counts import Tally

_THERE = ("converted", "present")


def note_overtaken(
    tally: Tally, items: Sequence[Item], to_convert: Sequence[Item], summary: Summary
) -> None:
    """Count images as failed whose archives another process has replaced or removed meanwhile.

    Two runs in one folder with different options or sources replace each other's archives. The one
    that ends last must not report that all of its archives are there.

    Args:
        tally: Counts of the run.
        items: All images of the plan.
        to_convert: Those that the run had to convert.
        summary: Of the current archives.
    """
    if not summary.missing:
        return
    not_done = {item.slug for item in to_convert if tally.statuses.get(item.slug) not in _THERE}
    not_done |= {missing.slug for missing in tally.failures}
    by_slug = {item.slug: item for item in items}
    for missing in summary.missing:
        item = by_slug.get(missing.slug)
        if item is None or missing.slug in not_done:
            continue
        change = (
            "replaced"
            if missing.archive_state == "outdated"
            else "damaged"
            if missing.archive_state
            else "removed"
        )
        failure = Failure(
            "OVERTAKEN",
            f"another process {change} the archive of this image while this run converted other "
            "images. Do not let two runs work in one folder at the same time. Use the same sources "
            "and options each time, and convert again",
            item.origin.source,
        )
        tally.lose(Failed(item.slug, item.key, failure))
