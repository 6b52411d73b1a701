"""``voxarray verify``: whether archives are what was written, or what they were made from."""

from __future__ import annotations

import click

from voxarray.archive.verify import Problem
from voxarray.cli import options
from voxarray.cli.fatal import fatal
from voxarray.cli.outcome import Outcome
from voxarray.cohort.discover.archives import holdings
from voxarray.cohort.verification import require_comparable, verify_against
from voxarray.cohort.verify import Verdict, verify_below
from voxarray.core.errors import ArchiveError, FormatError
from voxarray.core.progress_bar import bar


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
    inputs = options.expanded(sources)
    if inputs:
        try:
            require_comparable(found, inputs)
        except FormatError as error:
            raise click.UsageError(error.message) from None
    with fatal(), bar(found.count) as begin:
        if inputs:
            verdicts = verify_against(found, inputs, quick=quick, begin=begin)
        else:
            verdicts = verify_below(paths, quick=quick, begin=begin)
        for verdict in verdicts:
            _tell(verdict, outcome)
    outcome.exit()


def _tell(verdict: Verdict, outcome: Outcome) -> None:
    with outcome.attempt(verdict.name):
        _require_none(list(verdict.problems))
        click.echo(f"{verdict.name}: whole")


def _require_none(problems: list[Problem]) -> None:
    if problems:
        lines = [f"{problem.code}: {problem.where}: {problem.message}" for problem in problems]
        raise ArchiveError("\n  ".join(["the archive is not what it should be", *lines]))
