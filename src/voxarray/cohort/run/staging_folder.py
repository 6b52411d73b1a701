"""The folder of archives under construction, before and after a run."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.plan import Plan
from voxarray.storage.hidden_folders import names_of_hidden, remove_abandoned

if TYPE_CHECKING:
    from voxarray.cohort.run.build import ExecutionOptions


def remove_staging(folder: CohortLayout, plan: Plan, run: ExecutionOptions) -> None:
    """Remove the folder of archives under construction, when a run has ended."""
    try:
        os.rmdir(folder.staging)
    except OSError:  # killed workers have left files, or another run builds there
        sweep(folder, plan, run)
        with suppress(OSError):
            os.rmdir(folder.staging)


def sweep(folder: CohortLayout, plan: Plan, run: ExecutionOptions) -> None:
    """Remove the leftovers of interrupted conversions; a part removes only those of its images."""
    names: list[str | None] = [None]
    if run.partition is not None:
        own = {os.path.basename(folder.archive(item.slug, plan.zipped)) for item in plan.items}
        names = [name for name in names_of_hidden(folder.staging) if name in own]
    for name in names:
        remove_abandoned(folder.staging, name)
