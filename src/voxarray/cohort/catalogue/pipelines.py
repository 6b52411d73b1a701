"""Archives in a cohort that were made by another pipeline than that of its plan.

An archive holds the digest of its pipeline among its facts, and the catalogue has a column for it.
Archives that the plan names have a key that includes more; the digest is for the others, which a
run leaves unchanged.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from voxarray.cohort.catalogue.entry import Entry
from voxarray.cohort.catalogue.manifest_entries import entries_at
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.item import Item
from voxarray.cohort.plan.plan import Plan
from voxarray.core.errors import FormatError

PIPELINE = "pipeline_digest"
"""Fact, and column, with the digest of the pipeline; images that were only converted have none."""


def pipeline_of(facts: Mapping[str, Any]) -> str | None:
    """Digest of the pipeline that made an image; None without one, and up to release 0.2.0."""
    digest = facts.get(PIPELINE)
    return digest if isinstance(digest, str) else None


def of_another_pipeline(
    items: Sequence[Item],
    folder: CohortLayout,
    zipped: bool,
    entries: Mapping[str, Entry | None],
) -> frozenset[str]:
    """Slugs of the items whose existing archive was made by another pipeline than theirs.

    Args:
        items: Items whose archives will be replaced.
        folder: Of the cohort.
        zipped: Whether its archives are files.
        entries: Entries of the existing archives, by file name.
    """
    slugs = set[str]()
    for item in items:
        entry = entries.get(os.path.basename(folder.archive(item.slug, zipped)))
        if entry is not None and pipeline_of(entry.facts["facts"]) != pipeline_of(item.facts):
            slugs.add(item.slug)
    return frozenset(slugs)


def refuse_other_pipelines(
    folder: CohortLayout, plan: Plan, pipeline: str | None, there: Sequence[str] | None = None
) -> None:
    """Refuse a plan that would leave archives of another pipeline beside its own.

    Reads the manifests of those existing archives that the plan does not name.

    Args:
        folder: Of the cohort.
        plan: Of this run.
        pipeline: Digest of its pipeline; None if images are only converted.
        there: Paths with the name of an archive, if they were listed just now.

    Raises:
        FormatError: ``OTHER_PIPELINE``.
    """
    planned = {os.path.basename(folder.archive(item.slug, plan.zipped)) for item in plan.items}
    # By name only: in a bucket, asking whether an archive is complete takes a request each.
    there = folder.candidates() if there is None else there
    unplanned = [path for path in there if os.path.basename(path) not in planned]
    others = sorted(
        name
        for name, entry in entries_at(unplanned).items()
        if entry is not None and pipeline_of(entry.facts["facts"]) != pipeline
    )
    if not others:
        return
    keep = "" if pipeline is None else "; or keep both with save(mixed=True) (preprocess --mixed)"
    count = f"{len(others)} archive{'s' if len(others) > 1 else ''}"
    raise FormatError(
        f"{folder.subjects} holds {count}, such as {others[0]}, made by another pipeline, or by an "
        "older voxarray that did not record the pipeline: this run would not replace these, and "
        "the catalogue would list the results of both pipelines. Do one of these: save all "
        f"subjects again; choose another folder; delete the archives that you do not want{keep}",
        code="OTHER_PIPELINE",
        path=folder.root,
    )
