"""``voxarray verify``: whether archives are what was written, or what they were made from."""

from __future__ import annotations

from collections.abc import Callable

import click

from voxarray.archive.verify import Problem, compare, verify
from voxarray.cli.discover import archives
from voxarray.cli.outcome import Outcome
from voxarray.cli.progress import bar
from voxarray.errors import ArchiveError
from voxarray.sources.registry import open_source


@click.command("verify")
@click.argument("paths", nargs=-1, required=True)
@click.option("--source", type=click.Path(), help="Compare the archive with this image too")
def command(paths: tuple[str, ...], source: str | None) -> None:
    """Compare every byte of archives (or of all in a folder) with what was written."""
    found = [archive for path in paths for archive in archives(path)]
    if source is not None and len(found) != 1:
        raise click.UsageError(f"--source compares one archive, and {len(found)} are named")
    outcome = Outcome()
    with bar(len(found)) as begin:
        for archive in found:
            with outcome.attempt(str(archive)):
                _require_none(_problems(str(archive), source, begin(archive.name)))
                click.echo(f"{archive}: whole")
    outcome.exit()


def _problems(
    archive: str, source: str | None, progress: Callable[[int, int], None]
) -> list[Problem]:
    problems = verify(archive, progress)
    if source is not None and not problems:
        problems = compare(archive, open_source(source), progress)
    return problems


def _require_none(problems: list[Problem]) -> None:
    if problems:
        lines = [f"{problem.code}: {problem.where}: {problem.message}" for problem in problems]
        raise ArchiveError("\n  ".join(["the archive is not what it should be", *lines]))
