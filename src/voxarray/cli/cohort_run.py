"""How a run over the images of a cohort is watched, and what is said at its end."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NoReturn

from voxarray.cli.console import console
from voxarray.cohort.catalogue.report_files import left_over
from voxarray.cohort.convert import watching
from voxarray.cohort.discover.input import source_told
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.item import Failure, Item
from voxarray.cohort.plan.plan import labels_apart_told
from voxarray.cohort.run.interrupts import ASKED_TO_END
from voxarray.cohort.run.progress import ProgressListener
from voxarray.cohort.run.result import CohortResult
from voxarray.cohort.run.task import Result
from voxarray.core.exit_codes import NOTHING_DONE, SOME_FAILED, STOPPED
from voxarray.core.memory import format_bytes
from voxarray.core.progress import Progress

_TOLD = 20
"""Reasons that are shown at the end; all failures are in the report."""

_ALIKE = 3
"""Files of one reason that are named; if there are more, they have one line together."""


class _Totals(ProgressListener):
    """Adds up what a run did, and passes on what it is told."""

    def __init__(self, listener: ProgressListener) -> None:
        self._listener, self.voxel_bytes = listener, 0

    def start(self, items: Sequence[Item]) -> None:
        self._listener.start(items)

    def begin(self, item: Item) -> Progress | None:
        return self._listener.begin(item)

    def end(self, result: Result) -> None:
        self.voxel_bytes += result.voxel_bytes if result.status == "converted" else 0
        self._listener.end(result)

    def planned(self, done: int, total: int) -> None:
        self._listener.planned(done, total)


def run_and_report(
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
    with watching(talk.progress) as listener:
        totals = _Totals(listener)
        result = work(totals)
    voxel_bytes, seconds = totals.voxel_bytes, time.perf_counter() - began
    talk.document.update(voxel_bytes=voxel_bytes)
    _say(folder, result, f"{format_bytes(voxel_bytes)} of voxels in ", seconds)
    if result.replaced:
        talk.say(result.replaced_told)
    if result.census is not None:
        talk.document["census"] = result.census.document()
        talk.say(str(result.census))
    if result.labels_apart:
        talk.document["labels_apart"] = result.labels_apart
        talk.say(f"note: {labels_apart_told(result.labels_apart)}")
    if result.summary is not None and result.summary.unplanned:
        talk.document["unplanned"] = list(result.summary.unplanned)
        talk.say(f"note: {left_over(result.summary.unplanned)}")
    if of_files:
        _end(result, "", len(result.failures))
    _end(result, f": see {folder.readable_report if result.summary else folder.journal}", _TOLD)


def _say(folder: CohortLayout, result: CohortResult, prefix: str, seconds: float) -> None:
    talk = console()
    talk.document.update(
        destination=folder.root,
        converted=result.converted,
        replaced=result.replaced,
        up_to_date=result.present,
        failed=result.failed,
        remaining=result.remaining,
        stopped=result.interrupted_by,
        seconds=round(seconds, 3),
        failures=[_failure(failure) for failure in result.failures],
    )
    remaining = f", {result.remaining} remaining" if result.remaining else ""
    talk.say(
        f"{folder.root}: {result.converted} converted, {result.present} up to date, "
        f"{result.failed} failed{remaining}; {prefix}{seconds:.1f} s"
    )


def _end(result: CohortResult, where: str, most: int) -> NoReturn:
    talk = console()
    for line in _reasons(result, every=not where)[:most]:
        talk.complain(line)
    if result.failed:
        talk.complain(
            f"{result.failed} of {result.failed + result.converted + result.present} failed{where}"
        )
    if result.interrupted_by and not _just_done(result):
        talk.complain(f"stopped: {result.interrupted_by}; run the same command again to resume")
    talk.finish(_code(result))


def _reasons(result: CohortResult, *, every: bool) -> list[str]:
    """Why images failed; one line for many that failed for the same reason, such as a pipeline.

    Args:
        result: Of the run.
        every: Whether to name every file, since no report does.
    """
    images = Counter((failure.code, failure.message) for failure in result.failures)
    total = result.failed + result.converted + result.present
    files: dict[tuple[str, str], list[str]] = {}
    for failure in result.different_failures:
        files.setdefault((failure.code, failure.message), []).append(source_told(failure.file))
    lines = []
    for (code, message), paths in files.items():
        if every or len(paths) <= _ALIKE:
            lines += [f"{path}: {code}: {message}" for path in paths]
        else:
            count = images[code, message]
            lines.append(
                f"{count} of {total} images: {code}: {message}; the first are "
                f"{', '.join(paths[:_ALIKE])}"
            )
    return lines


def _just_done(result: CohortResult) -> bool:
    """Whether nothing was left to do when the run was asked to end."""
    return result.interrupted_by == ASKED_TO_END and not result.remaining


def _code(result: CohortResult) -> int:
    stopped = result.interrupted_by and not _just_done(result)
    if not (result.failed or result.remaining or stopped):
        twice = result.summary is not None and result.summary.namesakes
        return SOME_FAILED if twice else 0  # a cohort cannot open these subjects
    if result.interrupt is not None and result.remaining:
        return STOPPED
    return SOME_FAILED if result.converted + result.present else NOTHING_DONE


def _failure(failure: Failure) -> dict[str, str]:
    return {"path": os.fspath(failure.file), "code": failure.code, "message": failure.message}
