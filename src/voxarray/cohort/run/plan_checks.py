"""Checks before a plan is made, and warnings before it is written."""

from __future__ import annotations

from collections.abc import Sequence

from voxarray.cohort.catalogue.pipelines import PIPELINE
from voxarray.cohort.catalogue.rows import COLUMNS
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.plan.plan import Plan
from voxarray.cohort.run.absent_fields import warn_of_absent_fields
from voxarray.cohort.run.vanished import warn_of_vanished
from voxarray.core.errors import UnsupportedError

_OF_FIELDS = "modality"
"""A column that a kept field of the same name may replace, to correct it."""


def refuse_reserved(names: Sequence[str]) -> None:
    """Refuse to keep fields whose names the catalogue uses for other columns, or hides.

    Args:
        names: Of fields.

    Raises:
        UnsupportedError: ``RESERVED_NAME``.
    """
    reserved = {*COLUMNS, PIPELINE} - {_OF_FIELDS}
    bad = [name for name in names if name in reserved or name.startswith("_")]
    if bad:
        raise UnsupportedError(
            f"the field {bad[0]!r} cannot be kept: the catalogue has a column of this name that "
            "means something else, and names that begin with _ are its own. Leave it out, or "
            "rename the column of the manifest or of participants.tsv",
            code="RESERVED_NAME",
        )


def warn_of_plan(
    plan: Plan, previous: Plan | None, folder: CohortLayout, options: ArchiveOptions
) -> None:
    """Warn of images that are in the previous plan alone, and of fields that no image has."""
    if previous is not None:
        warn_of_vanished(folder, previous, plan)
    warn_of_absent_fields(plan, options)
