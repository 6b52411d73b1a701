"""``voxarray verify``: whether archives are what was written, or what they were made from."""

from __future__ import annotations

import os
from collections.abc import Callable

import click

from voxarray.archive.verify import Problem, compare, verify
from voxarray.cli import options
from voxarray.cli.fatal import fatal
from voxarray.cli.outcome import Outcome
from voxarray.cohort.discover.files import archives
from voxarray.cohort.discover.search import search
from voxarray.cohort.folder import Folder
from voxarray.cohort.options import Choice
from voxarray.cohort.verify import verify_cohort
from voxarray.core.errors import ArchiveError
from voxarray.core.progress_bar import bar
from voxarray.formats.registry import open_source
from voxarray.storage.remote.address import is_url


@click.command("verify")
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "--source",
    "sources",
    multiple=True,
    help="Compare voxel by voxel with what the archive or cohort was made from",
)
@click.option("--quick", is_flag=True, help="Names and sizes alone")
def command(paths: tuple[str, ...], sources: tuple[str, ...], quick: bool) -> None:
    """Compare every byte of archives (or of all in a folder) with what was written.

    Of the folder of a cohort, all that was planned must be there, too.
    """
    outcome = Outcome()
    if len(paths) == 1 and not is_url(paths[0]) and Folder.of(paths[0]).is_cohort():
        _cohort(paths[0], sources, quick, outcome)
    else:
        _archives(paths, sources, quick, outcome)
    outcome.exit()


def _cohort(path: str, sources: tuple[str, ...], quick: bool, outcome: Outcome) -> None:
    locations = None
    with fatal(), bar(len(list(Folder.of(path).archives()))) as begin:
        if sources:
            found = search(options.expanded(sources), path, Choice())
            locations = {one.source: one.location for one in found}
        for verdict in verify_cohort(path, quick=quick, locations=locations, begin=begin):
            with outcome.attempt(verdict.name):
                _require_none(list(verdict.problems))
                click.echo(f"{verdict.name}: whole")


def _archives(
    paths: tuple[str, ...], sources: tuple[str, ...], quick: bool, outcome: Outcome
) -> None:
    found = [a for path in paths for a in ([path] if is_url(path) else map(str, archives(path)))]
    if len(sources) > 1 or (sources and len(found) != 1):
        raise click.UsageError(f"--source compares one archive, and {len(found)} are named")
    source = sources[0] if sources else None
    with bar(len(found)) as begin:
        for archive in found:
            with outcome.attempt(archive):
                progress = begin(os.path.basename(archive))
                _require_none(_problems(archive, source, quick, progress))
                click.echo(f"{archive}: whole")


def _problems(
    archive: str, source: str | None, quick: bool, progress: Callable[[int, int], None]
) -> list[Problem]:
    problems = verify(archive, progress, quick=quick)
    if source is not None and not problems:
        problems = compare(archive, open_source(source), progress)
    return problems


def _require_none(problems: list[Problem]) -> None:
    if problems:
        lines = [f"{problem.code}: {problem.where}: {problem.message}" for problem in problems]
        raise ArchiveError("\n  ".join(["the archive is not what it should be", *lines]))
