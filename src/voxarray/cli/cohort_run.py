"""How a run over the images of a cohort is watched, and what is said at its end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from voxarray.cli.console import console
from voxarray.cli.outcome import NOTHING_DONE, SOME_FAILED, STOPPED
from voxarray.cohort.catalogue.report import left_over
from voxarray.cohort.convert import watching
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.item import Failure, Item
from voxarray.cohort.run.build import ASKED_TO_END
from voxarray.cohort.run.progress import ProgressListener
from voxarray.cohort.run.result import CohortResult
from voxarray.cohort.run.task import Result
from voxarray.core.memory import format_bytes
from voxarray.core.progress import Progress

_TOLD = 20
"""Failures that are shown at the end; all are in the report."""


class _Totals(ProgressListener):
    """Adds up what a run did, and passes on what it is told."""

    def __init__(self, shown: ProgressListener) -> None:
        self._shown, self.voxel_bytes = shown, 0

    def start(self, items: Sequence[Item]) -> None:
        self._shown.start(items)

    def begin(self, item: Item) -> Progress | None:
        return self._shown.begin(item)

    def end(self, result: Result) -> None:
        self.voxel_bytes += result.voxel_bytes if result.status == "converted" else 0
        self._shown.end(result)

    def planned(self, done: int, total: int) -> None:
        self._shown.planned(done, total)


def tell(
    folder: CohortLayout,
    work: Callable[[ProgressListener], CohortResult],
    *,
    of_files: bool = False,
) -> NoReturn:
    """Do it, say what was done and end: 0 all good, 3 some failed, 1 nothing done, 75 stopped.

    Args:
        folder: Of the cohort.
        work: Does it, and tells a listener of it.
        of_files: Whether files were made, for which there is no report: every failure is said.
    """
    talk = console()
    began = time.perf_counter()
    with watching(talk.progress) as shown:
        totals = _Totals(shown)
        made = work(totals)
    voxel_bytes, seconds = totals.voxel_bytes, time.perf_counter() - began
    talk.document.update(voxel_bytes=voxel_bytes)
    _say(folder, made, f"{format_bytes(voxel_bytes)} of voxels in ", seconds)
    if made.replaced:
        talk.say(made.replaced_told)
    if made.census is not None:
        talk.document["census"] = made.census.document()
        talk.say(str(made.census))
    if made.summary is not None and made.summary.unplanned:
        talk.document["unplanned"] = list(made.summary.unplanned)
        talk.say(f"note: {left_over(made.summary.unplanned)}")
    if of_files:
        _end(made, "", len(made.failures))
    _end(made, f": see {folder.readable_report if made.summary else folder.journal}", _TOLD)


def _say(folder: CohortLayout, made: CohortResult, more: str, seconds: float) -> None:
    talk = console()
    talk.document.update(
        destination=folder.root,
        converted=made.converted,
        replaced=made.replaced,
        up_to_date=made.present,
        failed=made.failed,
        remaining=made.remaining,
        stopped=made.interrupted_by,
        seconds=round(seconds, 3),
        failures=[_failure(one) for one in made.failures],
    )
    talk.say(
        f"{folder.root}: {made.converted} converted, {made.present} up to date, {made.failed} "
        f"failed{f', {made.remaining} remaining' if made.remaining else ''}; {more}{seconds:.1f} s"
    )


def _end(made: CohortResult, where: str, most: int) -> NoReturn:
    talk = console()
    for one in made.different_failures[:most]:
        told = _failure(one)
        talk.complain(f"{told['path']}: {told['code']}: {told['message']}")
    if made.failed:
        talk.complain(
            f"{made.failed} of {made.failed + made.converted + made.present} failed{where}"
        )
    if made.interrupted_by:
        talk.complain(f"stopped: {made.interrupted_by}; run the same command again to resume")
    talk.finish(_code(made))


def _code(made: CohortResult) -> int:
    if not (made.failed or made.remaining or made.interrupted_by):
        return 0
    if made.interrupted_by == ASKED_TO_END and not made.failed:
        return STOPPED
    return SOME_FAILED if made.converted + made.present else NOTHING_DONE


def _failure(one: Failure) -> dict[str, str]:
    return {"path": os.fspath(one.file), "code": one.code, "message": one.message}
