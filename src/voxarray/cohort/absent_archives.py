"""Archives that a cohort should hold and does not: why, and how they are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from voxarray.archive.verify import Problem
from voxarray.cohort.catalogue.pipelines import pipeline_of
from voxarray.cohort.plan.described import digest_of
from voxarray.cohort.plan.item import Failure, Item
from voxarray.cohort.unchanged import Unchanged


def missing(item: Item | str, failures: Mapping[tuple[str, str], Mapping[str, Any]]) -> Problem:
    """Why an archive is not there, and what to do.

    Args:
        item: Of the plan; or, without a plan, its source by the catalogue.
        failures: The last of each image, by its slug and key.
    """
    if isinstance(item, str):
        return Problem(
            "MISSING",
            item,
            "is in the catalogue, but its archive is missing: repeat the command or call that made "
            "the cohort, such as voxarray convert or preprocess",
        )
    if item.failure is not None:
        text = f"was not converted, so it has no archive: {item.failure.message}"
        return Problem(item.failure.code, item.failure.file, text)
    record = failures.get((item.slug, item.key))
    if record is None:
        text = f"was planned, but its archive is missing: {how_again(item)}"
    else:
        failure = Failure.from_json(record["failure"])
        text = f"was planned, but its conversion failed: {failure.code}: {failure.message}"
        # The file at fault may be a label map of the image, or a part of it.
        return Problem("MISSING", failure.file, text)
    return Problem("MISSING", item.origin.source, text)


def how_again(item: Item) -> str:
    """How the archive of an item is made."""
    if not is_computed(item):
        return "convert again"
    # The plan knows the transform by its digest alone.
    return (
        "repeat the command or call that made this cohort from another one, with the same "
        "transform: voxarray preprocess, voxarray infer, or save of a mapped cohort in Python"
    )


def is_computed(item: Item) -> bool:
    """Whether something made an image of another cohort's that may have changed its voxels."""
    return pipeline_of(item.facts) not in (None, digest_of(Unchanged()))
