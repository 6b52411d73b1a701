"""Images that a run has made, or found, and that are no longer there when it ends."""

from __future__ import annotations

from collections.abc import Sequence

from voxarray.cohort.catalogue.finalise import Summary
from voxarray.cohort.catalogue.part_failures import Failed
from voxarray.cohort.plan.item import Failure, Item
from voxarray.cohort.run.tally import Tally

_THERE = ("converted", "present")


def note_overtaken(
    tally: Tally, items: Sequence[Item], todo: Sequence[Item], summary: Summary
) -> None:
    """Count images as failed that others have replaced or removed while the run was at others.

    Two runs in one folder that differ in options or sources replace each other's archives:
    whoever ends last must not say that all of its own are there.

    Args:
        tally: What the run counted.
        items: All images of the plan.
        todo: Those that the run was to convert.
        summary: Of what is there now.
    """
    if not summary.missing:
        return
    undone = {item.slug for item in todo if tally.statuses.get(item.slug) not in _THERE}
    undone |= {one.slug for one in tally.failures}
    by_slug = {item.slug: item for item in items}
    for one in summary.missing:
        item = by_slug.get(one.slug)
        if item is None or one.slug in undone:
            continue
        what = (
            "replaced"
            if one.archive_state == "outdated"
            else "damaged"
            if one.archive_state
            else "removed"
        )
        failure = Failure(
            "OVERTAKEN",
            f"somebody else {what} its archive while this run converted other images. Do not let "
            "two runs work in one folder at once. Use the same sources and options each time, and "
            "convert again",
            item.origin.source,
        )
        tally.lose(Failed(item.slug, item.key, failure))
