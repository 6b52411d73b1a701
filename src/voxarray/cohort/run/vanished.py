"""Images that were planned once, were never converted, and are no longer among the sources."""

from __future__ import annotations

import os

from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.plan import Plan
from voxarray.core.caller_warnings import warn_by_code
from voxarray.core.printable import printable

_TOLD = 3


def warn_of_vanished(folder: CohortLayout, previous: Plan, plan: Plan) -> None:
    """Warn of images of the previous plan of which neither a source nor an archive is left.

    The new plan does not name them, so that the cohort counts as whole without them: a disk may be
    missing, or a copy not be complete.

    Args:
        folder: Of the cohort.
        previous: The plan that is there.
        plan: The one that takes its place.
    """
    found = {item.origin.source for item in plan.items}
    found |= {layer.origin.source for item in plan.items for layer in item.layers}
    gone = [item for item in previous.items if item.origin.source not in found]
    if not gone:
        return
    there = {os.path.basename(path) for path in folder.archives()}
    names = [
        printable(item.origin.source)
        for item in gone
        if os.path.basename(folder.archive(item.slug, previous.zipped)) not in there
    ]
    if names:
        one = len(names) == 1
        more = f", and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
        warn_by_code(
            "SOURCES_ABSENT",
            f"{len(names)} image{' that was' if one else 's that were'} planned before "
            f"{'is' if one else 'are'} no longer among the sources, and "
            f"{'was' if one else 'were'} never converted: {', '.join(names[:_TOLD])}{more}. The "
            f"cohort now counts as whole without {'it' if one else 'them'}: if that is not meant, "
            "bring the files back, or mount their disk, and convert again",
        )
