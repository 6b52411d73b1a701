"""Images that were planned once, were never converted, and are no longer among the sources."""

from __future__ import annotations

import os

from voxarray.cohort.discover.input import source_told
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.plan import Plan
from voxarray.core.caller_warnings import warn_by_code

_TOLD = 3


def warn_of_vanished(folder: CohortLayout, previous: Plan, plan: Plan) -> None:
    """Warn of images of the previous plan that have neither a source nor an archive any more.

    The new plan does not name them, so that the cohort counts as complete without them. Perhaps a
    disk is not mounted, or a copy is incomplete.

    Args:
        folder: Of the cohort.
        previous: The existing plan.
        plan: The plan that replaces it.
    """
    sources = {item.origin.source for item in plan.items}
    sources |= {layer.origin.source for item in plan.items for layer in item.layers}
    vanished = [item for item in previous.items if item.origin.source not in sources]
    if not vanished:
        return
    archive_names = {os.path.basename(path) for path in folder.archives()}
    names = [
        source_told(item.origin.source)
        for item in vanished
        if os.path.basename(folder.archive(item.slug, previous.zipped)) not in archive_names
    ]
    if names:
        lone = len(names) == 1
        more = f", and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
        warn_by_code(
            "SOURCES_ABSENT",
            f"{len(names)} image{' that was' if lone else 's that were'} planned before "
            f"{'is' if lone else 'are'} no longer among the sources, and "
            f"{'was' if lone else 'were'} never converted: {', '.join(names[:_TOLD])}{more}. The "
            f"cohort now counts as complete without {'it' if lone else 'them'}: if that is not "
            "intended, bring the files back, or mount their disk, and convert again",
        )
