"""Archives of a cohort that another pipeline made than its plan says.

An archive says which pipeline made it, by a digest among its facts, which is also a column of the
catalogue. Those that are in a plan have a key that tells more; this is about the others, which a
run leaves as they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from voxarray.cohort.catalogue.entry import Entry
from voxarray.cohort.catalogue.rows import entries_at
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.item import Item
from voxarray.cohort.plan.plan import Plan
from voxarray.core.errors import FormatError

PIPELINE = "pipeline_digest"
"""Fact, and column, that tells pipelines apart; images that were only converted have none."""


def pipeline_of(facts: Mapping[str, Any]) -> str | None:
    """Digest of the pipeline that made an image; None if none did, or release 0.2.0 or before."""
    found = facts.get(PIPELINE)
    return found if isinstance(found, str) else None


def of_another_pipeline(
    items: Sequence[Item],
    folder: CohortLayout,
    zipped: bool,
    entries: Mapping[str, Entry | None],
) -> frozenset[str]:
    """Slugs of those items whose archive is there, and was made by another pipeline than theirs.

    Args:
        items: Whose archives will be replaced.
        folder: Of the cohort.
        zipped: Whether its archives are files.
        entries: What the archives that are there say of themselves, by file name.
    """
    found = set[str]()
    for item in items:
        entry = entries.get(os.path.basename(folder.archive(item.slug, zipped)))
        if entry is not None and pipeline_of(entry.facts["facts"]) != pipeline_of(item.facts):
            found.add(item.slug)
    return frozenset(found)


def refuse_other_pipelines(folder: CohortLayout, plan: Plan, pipeline: str | None) -> None:
    """Refuse a plan that would leave archives of another pipeline beside its own.

    Of the archives that are there, the manifests of those are read that the plan does not name.

    Args:
        folder: Of the cohort.
        plan: What will be made.
        pipeline: Digest of what makes it; None if images are only converted.

    Raises:
        FormatError: ``OTHER_PIPELINE``.
    """
    own = {os.path.basename(folder.archive(item.slug, plan.zipped)) for item in plan.items}
    # By name: in a bucket each question whether one is whole takes a request.
    rest = [path for path in folder.candidates() if os.path.basename(path) not in own]
    others = sorted(
        name
        for name, entry in entries_at(rest).items()
        if entry is not None and pipeline_of(entry.facts["facts"]) != pipeline
    )
    if not others:
        return
    keep = "" if pipeline is None else ", or keep both by save(mixed=True) (preprocess --mixed)"
    count = f"{len(others)} archive{'s' if len(others) > 1 else ''}"
    raise FormatError(
        f"{folder.subjects} holds {count}, such as {others[0]}, made by another pipeline, or by an "
        "older voxarray that did not record the pipeline: this run would not replace these, and "
        "the catalogue would list the results of both; save all subjects, choose another folder, "
        f"delete what is not wanted{keep}",
        code="OTHER_PIPELINE",
        path=folder.root,
    )
