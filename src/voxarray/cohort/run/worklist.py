"""What a run has to convert, by what it finds when it begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from voxarray.cohort.catalogue import part_failures
from voxarray.cohort.catalogue.finalise import Found, found_in, missing_of
from voxarray.cohort.catalogue.manifest_entries import entries_at
from voxarray.cohort.catalogue.part_failures import Failed
from voxarray.cohort.catalogue.pipelines import of_another_pipeline
from voxarray.cohort.folder import CohortLayout, archive_name
from voxarray.cohort.plan.item import Item
from voxarray.cohort.plan.plan import Plan
from voxarray.storage.remote.address import is_url

if TYPE_CHECKING:
    from voxarray.cohort.run.build import ExecutionOptions


def sorted_out(
    items: Sequence[Item],
    plan: Plan,
    folder: CohortLayout,
    run: ExecutionOptions,
    found: Found | None,
) -> tuple[list[Item], int, list[Failed], frozenset[str]]:
    """Items to convert, how many are there, permanent failures, and slugs of other pipelines'."""
    if run.partition is None:
        found = found or found_in(folder)
        entries, failures = found.entries, found.failures
    else:
        entries = entries_at([folder.archive(item.slug, plan.zipped) for item in items])
        failures = part_failures.read(folder, run.partition)
    to_convert, present, permanent_failures = list[Item](), 0, list[Failed]()
    for item in items:
        missing = missing_of(item, plan.zipped, entries, failures)
        failed = item.failure or (missing and missing.failure)
        if item.failure is not None:
            permanent_failures.append(Failed(item.slug, item.key, item.failure))
        elif missing is None and not run.overwrite:
            present += 1
        elif failed and failed.permanent and not run.retry and not run.overwrite:
            permanent_failures.append(Failed(item.slug, item.key, failed))
        else:
            to_convert.append(item)
    others = of_another_pipeline(to_convert, folder, plan.zipped, entries)
    return to_convert, present, permanent_failures, others


def absent_among(
    items: Sequence[Item], plan: Plan, folder: CohortLayout, found: Found | None
) -> frozenset[str]:
    """Slugs of those items in a bucket of which there was no archive, whole or not."""
    if found is None or not is_url(folder.root):
        return frozenset()
    slugs = (item.slug for item in items)
    return frozenset(slug for slug in slugs if archive_name(slug, plan.zipped) not in found.entries)
