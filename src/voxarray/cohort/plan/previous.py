"""The plan that is in a cohort's folder already, before another one is written."""

from __future__ import annotations

from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.plan import Plan
from voxarray.core.errors import FormatError, MissingFileError


def previous_plan(folder: CohortLayout) -> Plan | None:
    """The plan that is there; None if there is none."""
    try:
        return Plan.read(folder.plan)
    except MissingFileError:
        return None


def refuse_if_overtaken(folder: CohortLayout, plan: Plan) -> None:
    """Refuse a first plan where another run has written its own meanwhile.

    Planning thousands of scans takes minutes, and whoever begins then finds no plan either.

    Args:
        folder: Of the cohort, in which there was no plan.
        plan: What is about to be written.

    Raises:
        FormatError: If the other plan is of other sources or in another form (``OTHER_SOURCE``).
    """
    now = previous_plan(folder)
    if now is not None and (now.origin, now.zipped) != (plan.origin, plan.zipped):
        raise FormatError(
            f"while this run planned, another one began a cohort in {folder.root}, of other "
            "sources or in another form: choose another DESTINATION",
            code="OTHER_SOURCE",
            path=folder.plan,
        )
