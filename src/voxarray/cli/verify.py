"""``voxarray verify``: whether archives are what was written, or what they were made from."""

from __future__ import annotations

import os

import click

from voxarray.archive.verify import Problem, compare, verify
from voxarray.cli import options
from voxarray.cli.fatal import fatal
from voxarray.cli.outcome import Outcome
from voxarray.cohort.discover.archives import Holdings, holdings
from voxarray.cohort.discover.search import search
from voxarray.cohort.options import Choice
from voxarray.cohort.verify import Verdict, verify_below, verify_cohort
from voxarray.core.errors import ArchiveError
from voxarray.core.progress_bar import bar
from voxarray.formats.registry import open_source


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
    """Compare every byte of archives with what was written.

    PATHS are archives, cohorts, and folders that hold either at any depth. Of a cohort, all that
    was planned must be there, too.
    """
    outcome = Outcome()
    found = holdings(paths)
    if sources:
        _against(found, sources, quick, outcome)
    else:
        with fatal(), bar(found.count) as begin:
            for verdict in verify_below(paths, quick=quick, begin=begin):
                _tell(verdict, outcome)
    outcome.exit()


def _against(found: Holdings, sources: tuple[str, ...], quick: bool, outcome: Outcome) -> None:
    """Compare one cohort, or one archive, with its sources too."""
    if (len(found.cohorts), len(found.archives)) == (1, 0):
        root = found.cohorts[0].root
        with fatal(), bar(found.count) as begin:
            inputs = search(options.expanded(sources), root, Choice())
            locations = {one.source: one.location for one in inputs}
            for verdict in verify_cohort(root, quick=quick, locations=locations, begin=begin):
                _tell(verdict, outcome)
        return
    if len(sources) > 1 or (len(found.cohorts), len(found.archives)) != (0, 1):
        raise click.UsageError(
            f"--source compares one archive or one cohort, and {len(found.archives)} archives and "
            f"{len(found.cohorts)} cohorts are named"
        )
    archive = found.archives[0]
    with bar(1) as begin, outcome.attempt(archive):
        progress = begin(os.path.basename(archive))
        problems = verify(archive, progress, quick=quick)
        _require_none(problems or compare(archive, open_source(sources[0]), progress))
        click.echo(f"{archive}: whole")


def _tell(verdict: Verdict, outcome: Outcome) -> None:
    with outcome.attempt(verdict.name):
        _require_none(list(verdict.problems))
        click.echo(f"{verdict.name}: whole")


def _require_none(problems: list[Problem]) -> None:
    if problems:
        lines = [f"{problem.code}: {problem.where}: {problem.message}" for problem in problems]
        raise ArchiveError("\n  ".join(["the archive is not what it should be", *lines]))
