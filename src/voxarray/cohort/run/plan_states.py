"""What a conversion would do with each image of a plan, told from the archives that are there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal, get_args

from voxarray.cohort.catalogue.entry import Entry
from voxarray.cohort.catalogue.manifest_entries import entries_of
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.plan.changed_options import changed_options
from voxarray.cohort.plan.item import Item
from voxarray.cohort.plan.plan import Plan
from voxarray.cohort.run.lost_additions import is_refused
from voxarray.core.caller_warnings import warn_by_code
from voxarray.core.errors import ArchiveExistsError

State = Literal["new", "up to date", "changed", "options changed", "cannot be converted"]
_TOLD = 3


def states_of(
    plan: Plan, previous: Plan | None, folder: CohortLayout, entries: Mapping[str, Entry | None]
) -> dict[str, State]:
    """The state of each image, by the name of its archive; nothing is read.

    Args:
        plan: The new plan.
        previous: The plan that was there before; None if there was none.
        folder: Of the cohort.
        entries: Of its archives, by file name.
    """
    before = {} if previous is None else {item.slug: item for item in previous.items}
    others = previous is not None and previous.options != plan.options
    return {
        item.slug: _state(item, _entry(item, plan, folder, entries), before.get(item.slug), others)
        for item in plan.items
    }


def counted(states: Mapping[str, State]) -> str:
    """How many images are in each state, in words."""
    found = list(states.values())
    return ", ".join(f"{found.count(one)} {one}" for one in get_args(State) if one in found)


def check_changed_options(
    plan: Plan,
    previous: Plan | None,
    folder: CohortLayout,
    options: ArchiveOptions,
    *,
    refusing: bool,
) -> None:
    """Tell of archives that are made again since options have changed, or refuse it.

    Args:
        plan: The new plan, which is not written yet.
        previous: The plan that is there.
        folder: Of the cohort.
        options: Of the new plan.
        refusing: Whether to refuse if archives hold what was added to them. A dry run does not.

    Raises:
        ArchiveExistsError: Archives hold label maps or notes that were added, which the new
            archives would lack (``CONTENT_ADDED``).

    Warns:
        VoxarrayWarning: ``OPTIONS_CHANGED``.
    """
    change = changed_options(previous, options)
    if not change:
        return
    entries = entries_of(folder)
    again = [
        item
        for item in plan.items
        if item.failure is None
        and (entry := _entry(item, plan, folder, entries)) is not None
        and not entry.is_of(item)
    ]
    if not again:
        return
    paths = [folder.archive(item.slug, plan.zipped) for item in again]
    kept = [os.path.basename(path) for path in paths if is_refused(path)] if refusing else []
    if kept:
        more = f" and {len(kept) - _TOLD} more" if len(kept) > _TOLD else ""
        raise ArchiveExistsError(
            f"the options differ from those that {folder.root} was made with: {change}. All "
            "archives would be made again, and some would lose what was added to them (label maps, "
            f"notes): {', '.join(kept[:_TOLD])}{more}. Nothing was changed: give the same options "
            "as before, or choose another DESTINATION; or save elsewhere what was added, and "
            "remove it from the archives (voxarray remove-labels). overwrite=True (convert "
            "--overwrite) deletes what was added to any archive",
            code="CONTENT_ADDED",
            path=folder.root,
        )
    warn_by_code(
        "OPTIONS_CHANGED",
        f"{'1 image' if len(again) == 1 else f'{len(again)} images'} of {folder.root} will be "
        "converted again, because options changed: "
        f"{change}. To keep the archives and the columns of the catalogue as they are, give the "
        "same options as before",
    )


def _entry(
    item: Item, plan: Plan, folder: CohortLayout, entries: Mapping[str, Entry | None]
) -> Entry | None:
    return entries.get(os.path.basename(folder.archive(item.slug, plan.zipped)))


def _state(item: Item, entry: Entry | None, before: Item | None, others: bool) -> State:
    if item.failure is not None:
        return "cannot be converted"
    if entry is None:
        return "new"
    if entry.is_of(item):
        return "up to date"
    same = before is not None and (before.origin, before.layers) == (item.origin, item.layers)
    return "options changed" if others and same else "changed"
