"""Checking whatever lies at a path: an archive, a cohort, or a folder of both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from voxarray.archive.verify import Problem, compare
from voxarray.archive.verify import verify as verify_archive
from voxarray.cohort.discover.files import archives
from voxarray.cohort.discover.search import search
from voxarray.cohort.folder import Folder
from voxarray.cohort.options import Choice
from voxarray.cohort.verify import verify_cohort
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
        path: An archive, a cohort, or a folder of archives.
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
        if not is_url(text) and Folder.of(text).is_cohort():
            return list(_of_cohort(text, source, quick, report))
        found = [text] if is_url(text) else [str(one) for one in archives(text)]
        if not found:
            raise MissingFileError(f"no archive in {text}", code="NOTHING_FOUND", path=text)
        if source is not None and len(found) > 1:
            raise FormatError(
                f"one source is compared with one archive, and {text} holds {len(found)}",
                code="TOO_MANY_ARCHIVES",
                path=text,
            )
        return [problem for one in found for problem in _of_archive(one, source, quick, report)]


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
    begin: Callable[[str], Progress] | None = None if report is None else lambda _: report
    for verdict in verify_cohort(path, quick=quick, locations=locations, begin=begin):
        yield from (replace(one, where=f"{verdict.name}: {one.where}") for one in verdict.problems)
