"""Images that were converted, and of which a run that had to stop did not hear."""

from __future__ import annotations

from collections.abc import Sequence

from voxarray.cohort.catalogue.finalise import Summary
from voxarray.cohort.plan.item import Item
from voxarray.cohort.run.progress import ProgressListener
from voxarray.cohort.run.result_counts import Tally
from voxarray.cohort.run.task import Result


def note_unheard(
    tally: Tally, to_convert: Sequence[Item], summary: Summary, watcher: ProgressListener
) -> None:
    """Count images as converted whose archives are there, though nobody said so.

    A worker may complete an image after the run has stopped to listen.

    Args:
        tally: Counts of the run.
        to_convert: Images that had no archive, or another one, when the run began.
        summary: Of the current archives.
        watcher: Told of each.
    """
    missing = {image.slug for image in summary.missing}
    for item in to_convert:
        if item.slug not in tally.statuses and item.slug not in missing:
            result = Result(item.slug, "converted", item.key, voxel_bytes=item.size)
            tally.count(result)
            watcher.end(result)
