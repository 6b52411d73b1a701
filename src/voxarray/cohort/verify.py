"""Whether a cohort is what was written, complete, and what it was made from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from voxarray.archive.verify import Problem, compare, verify
from voxarray.cohort.catalogue.entry import entry_of
from voxarray.cohort.folder import Folder
from voxarray.cohort.plan.failures import failure_of
from voxarray.cohort.plan.item import Item
from voxarray.cohort.plan.opening import FileOpener
from voxarray.cohort.plan.plan import Plan
from voxarray.core.errors import MissingFileError

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with one archive.

    Attributes:
        name: Its file name.
        problems: None if it is whole.
    """

    name: str
    problems: tuple[Problem, ...]


def verify_cohort(
    destination: str | os.PathLike[str],
    *,
    quick: bool = False,
    locations: Mapping[str, str] | None = None,
    begin: Callable[[str], Progress] | None = None,
) -> Iterator[Verdict]:
    """Check every archive of a cohort, and that all that were planned are there.

    Args:
        destination: Folder of the cohort.
        quick: Look at names and sizes alone, at no content but the manifests.
        locations: Where the sources are, by what the user calls them: compare voxel by voxel.
        begin: Called with the name of an archive; gives what to call with bytes done and in all.

    Raises:
        MissingFileError: If there is no cohort.
    """
    folder = Folder.of(destination)
    folder.require()
    plan = _plan(folder)
    wanted = (
        {os.path.basename(folder.archive(i.slug, plan.zipped)): i for i in plan.items}
        if plan
        else {}
    )
    for path in folder.archives():
        name = os.path.basename(path)
        progress = begin(name) if begin is not None else None
        problems = verify(path, progress, quick=quick)
        item = wanted.pop(name, None)
        if not problems and item is not None:
            problems += _of_plan(path, item)
        if not problems and item is not None and locations is not None:
            problems += _of_sources(path, item, locations, progress)
        yield Verdict(name, tuple(problems))
    for name, item in sorted(wanted.items()):
        failure = item.failure
        text = "was planned and is not there: convert again"
        code, message = ("MISSING", text) if failure is None else (failure.code, failure.message)
        yield Verdict(name, (Problem(code, item.origin.source, message),))


def _plan(folder: Folder) -> Plan | None:
    try:
        return Plan.read(folder.plan)
    except MissingFileError:
        return None


def _of_plan(path: str, item: Item) -> list[Problem]:
    entry = entry_of(path)
    if entry is not None and entry.key == item.key:
        return []
    text = "was made of other bytes or with other options than were planned: convert again"
    return [Problem("OUTDATED", item.origin.source, text)]


def _of_sources(
    path: str, item: Item, locations: Mapping[str, str], progress: Progress | None
) -> list[Problem]:
    opener = FileOpener(locations)
    try:
        opened = opener.open(item)
        problems = compare(path, opened.source, progress)
        for name, layer in opened.layers.items():
            problems += compare(f"{path}/labels/{name}", layer.source, progress)
    except Exception as error:
        failure = failure_of(error, item.origin.source, opener.places)
        return [Problem(failure.code, failure.file, failure.message)]
    return problems
