"""The existing plan of a cohort, and its replacement by a new one."""

from __future__ import annotations

from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.plan import Plan
from voxarray.core.errors import FormatError, MissingFileError
from voxarray.storage.remote.address import is_url
from voxarray.storage.small_files import create_file, side_by_side


def previous_plan(folder: CohortLayout) -> Plan | None:
    """The existing plan; None if there is none."""
    try:
        return Plan.read(folder.plan)
    except MissingFileError:
        return None


def plan_or_archives(folder: CohortLayout) -> tuple[Plan | None, list[str]]:
    """The existing plan; without one, paths with the name of an archive that are there."""
    if is_url(folder.root):
        # Mostly there is none in a bucket, or few archives: the names are asked for meanwhile.
        previous, there = side_by_side(
            folder.root, lambda: previous_plan(folder), folder.candidates
        )
        return previous, [] if previous is not None else there
    previous = previous_plan(folder)
    return previous, [] if previous is not None else folder.candidates()


def put_in_place(folder: CohortLayout, plan: Plan, previous: Plan | None) -> None:
    """Write a plan; a first plan is only written if no other run has written one meanwhile.

    Planning thousands of scans takes minutes, and a second run that starts then finds no plan,
    either. Only one of them may write the first plan.

    Args:
        folder: Of the cohort.
        plan: The new plan.
        previous: The plan that was there when planning began; None if there was none.

    Raises:
        FormatError: If the other plan is of other sources or in another form (``OTHER_SOURCE``).
        ArchiveError: If writing fails.
    """
    if previous is None:
        if create_file(folder.plan, plan.to_bytes()):
            return
        _refuse_if_overtaken(folder, plan)
    plan.write(folder.plan)


def _refuse_if_overtaken(folder: CohortLayout, plan: Plan) -> None:
    current = previous_plan(folder)
    if current is not None and (current.origin, current.zipped) != (plan.origin, plan.zipped):
        raise FormatError(
            f"while this run planned, another run began a cohort in {folder.root}, from other "
            "sources or in another form (zipped or not): choose another DESTINATION",
            code="OTHER_SOURCE",
            path=folder.plan,
        )
