"""Checking whatever lies at a path: an archive, a cohort, or a folder of both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from voxarray.archive.verify import Problem, compare
from voxarray.archive.verify import verify as verify_archive
from voxarray.cohort.discover.archives import holdings
from voxarray.cohort.discover.search import search
from voxarray.cohort.options import Choice
from voxarray.cohort.verify import verify_below, verify_cohort
from voxarray.core.errors import FormatError, MissingFileError
from voxarray.core.progress import Progress, ProgressOption, reporting
from voxarray.formats.registry import open_source
from voxarray.storage.remote.address import is_url


def verify(
    path: str | os.PathLike[str],
    *,
    source: Any = None,
    quick: bool = False,
    progress: ProgressOption = None,
) -> list[Problem]:
    """Compare every byte of an archive, or of all in a cohort or folder, with what was written.

    Of a cohort, all that was planned must be there, too.

    Args:
        path: An archive, a cohort, or a folder that holds either at any depth.
        source: What the archive or cohort was made from: compare voxel by voxel, too.
        quick: Look at names and sizes alone.
        progress: True, False, a function of bytes done and in all, or None: a bar where somebody
            looks.

    Returns:
        What is wrong; an empty list is good. Each problem has a ``code``, says ``where``, and what
        was seen and expected (``message``).

    Raises:
        MissingFileError: If there is nothing (``NOT_FOUND``), or no archive (``NOTHING_FOUND``).
        FormatError: If there are several archives and one source (``TOO_MANY_ARCHIVES``).
    """
    text = os.fspath(path)
    with reporting(progress, os.path.basename(text)) as report:
        found = holdings([text])
        if found.barren:
            raise MissingFileError(f"no archive in {text}", code="NOTHING_FOUND", path=text)
        here = None if is_url(text) else os.path.abspath(os.path.expanduser(text))
        alone = (len(found.cohorts), len(found.archives))
        if alone == (0, 1):
            return list(_of_archive(found.archives[0], source, quick, report))
        if alone == (1, 0) and (source is not None or found.cohorts[0].root == here):
            return list(_of_cohort(found.cohorts[0].root, source, quick, report))
        if source is not None:
            raise FormatError(
                f"sources are compared with one archive or one cohort, and {text} holds "
                f"{len(found.archives)} archives and {len(found.cohorts)} cohorts",
                code="TOO_MANY_ARCHIVES",
                path=text,
            )
        begin = _beginner(report)
        return [
            replace(one, where=f"{verdict.name}: {one.where}")
            for verdict in verify_below([text], quick=quick, begin=begin)
            for one in verdict.problems
        ]


def _of_archive(path: str, source: Any, quick: bool, report: Progress | None) -> Iterator[Problem]:
    problems = verify_archive(path, report, quick=quick)
    if source is not None and not problems:
        problems = compare(path, open_source(source), report)
    yield from (replace(one, where=f"{path}: {one.where}") for one in problems)


def _of_cohort(path: str, source: Any, quick: bool, report: Progress | None) -> Iterator[Problem]:
    locations = None
    if source is not None:
        given = [source] if isinstance(source, (str, os.PathLike)) else list(source)
        found = search([os.fspath(one) for one in given], path, Choice())
        locations = {one.source: one.location for one in found}
    for verdict in verify_cohort(path, quick=quick, locations=locations, begin=_beginner(report)):
        yield from (replace(one, where=f"{verdict.name}: {one.where}") for one in verdict.problems)


def _beginner(report: Progress | None) -> Callable[[str], Progress] | None:
    return None if report is None else lambda _: report
