"""``voxarray convert``: one image into an archive, or many into a cohort of archives."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from voxarray.archive.convert import convert
from voxarray.archive.metadata import Kind
from voxarray.archive.options import Options
from voxarray.archive.zip_file import SUFFIX as ZIP_SUFFIX
from voxarray.cli import options as choices
from voxarray.cli.fatal import NOTHING_DONE, SOME_FAILED, STOPPED, fatal, told_when_stopped
from voxarray.cli.outcome import Outcome
from voxarray.cohort.discover.files import images
from voxarray.cohort.folder import Folder
from voxarray.cohort.options import Choice, CohortOptions
from voxarray.cohort.run.build import ASKED_TO_END, Made, Run, build
from voxarray.cohort.run.interrupts import stoppable
from voxarray.cohort.run.progress import bars
from voxarray.core.memory import format_bytes
from voxarray.core.printable import printable
from voxarray.core.progress_bar import bar
from voxarray.formats.registry import names_archive, open_source
from voxarray.formats.suffixes import suffix_of
from voxarray.storage.destination import local_destination
from voxarray.storage.remote.address import is_url


def _part(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    number, slash, of = text.partition("/")
    if not (slash and number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise click.BadParameter(f"{text!r} is no part: write 3/16, from 1/16 to 16/16")
    return int(number), int(of)


_TOLD = 20
"""Failures that are shown at the end; all are in the report."""


@click.command("convert")
@click.argument("sources", nargs=-1, required=True)
@click.argument("destination")
@choices.how_archives_are_made
@choices.what_belongs_together
@click.option(
    "--memory",
    callback=choices.checked_size,
    help='Budget, such as "512 MiB" [default: half of what there is]',
)
@click.option("--overwrite", is_flag=True, help="Exchange archives that exist")
@click.option("--workers", type=click.IntRange(0), default=0, help="Processes on this machine")
@click.option("--scheduler", help="Address of a dask scheduler that runs, such as tcp://host:8786")
@click.option("--partition", callback=_part, metavar="I/N", help="One part of a frozen plan")
@click.option("--max-failures", type=click.IntRange(1), help="Stop after so many")
@click.option("--retry", is_flag=True, help="Try again what failed for good")
def command(
    sources: tuple[str, ...], destination: str, memory: str | None, **arguments: Any
) -> None:
    """Convert SOURCES into Zarr archives at DESTINATION.

    If DESTINATION is the name of an archive (.ome.zarr, .nii.zarr, .ozx), SOURCES is one image.
    Otherwise it is the folder of a cohort, and SOURCES are files, folders, globs, a BIDS dataset,
    a manifest (.csv, .tsv, .parquet), a list of paths or URLs (.txt), or URLs. What is in the
    folder already is not made again unless its source changed: run the command again to go on.
    """
    import dask.config

    options, choice = choices.cohort_options(arguments), choices.choice(arguments)
    budget = {} if memory is None else {"voxarray.memory-budget": memory}
    with fatal():
        local_destination(destination)
    with dask.config.set(budget), told_when_stopped(destination), stoppable():
        if names_archive(destination):
            _one(sources, destination, options, arguments["overwrite"])
        else:
            _many(sources, destination, options, choice, arguments)


def _one(
    sources: tuple[str, ...], destination: str, options: CohortOptions, overwrite: bool
) -> None:
    if options.zipped and suffix_of(destination) != ZIP_SUFFIX:
        raise click.UsageError(f"--zip makes {ZIP_SUFFIX} files, and {destination} is none")
    found = [one for s in sources for one in ([s] if is_url(s) else map(str, images(s)))]
    if len(found) != 1:
        raise click.UsageError(
            f"{destination} names one archive, and there are {len(found)} images: give a folder "
            "as the destination"
        )
    kind: Kind = "label" if options.labels_only else "intensity"
    outcome = Outcome()
    with bar(1) as begin, outcome.attempt(found[0]):
        done = convert(
            open_source(os.path.expanduser(found[0])),
            destination,
            kind=kind,
            options=Options(options.levels, options.chunk, options.codec, overwrite),
            progress=begin(os.path.basename(found[0])),
        )
        click.echo(
            f"{done.path}: {format_bytes(done.source_bytes)} -> "
            f"{format_bytes(done.archive_bytes)} in {done.seconds:.2f} s"
        )
    outcome.exit()


def _many(
    sources: tuple[str, ...],
    destination: str,
    options: CohortOptions,
    choice: Choice,
    arguments: dict[str, Any],
) -> None:
    run = Run(
        workers=arguments["workers"],
        scheduler=arguments["scheduler"],
        partition=arguments["partition"],
        max_failures=arguments["max_failures"],
        retry=arguments["retry"],
        again=arguments["overwrite"],
    )
    with fatal(), bars() as watcher:
        made = build(
            choices.expanded(sources),
            destination,
            options=options,
            choice=choice,
            run=run,
            watcher=watcher,
        )
    _tell(made, Folder.of(destination))


def _tell(made: Made, folder: Folder) -> None:
    """Say what was done and end: 0 all good, 3 some failed, 1 nothing done, 75 stopped."""
    click.echo(
        f"{made.converted} converted, {made.present} there already, {made.failed} failed"
        + (f", {made.left} left" if made.left else "")
    )
    if made.census is not None:
        click.echo(str(made.census))
    for one in made.summary.failed[:_TOLD] if made.summary else ():
        file = one.failure.file if one.failure else one.subject
        click.echo(printable(f"{file}: {one.code}: {one.message}"), err=True)
    if made.failed:
        click.echo(
            f"{made.failed} of {made.failed + made.converted + made.present} failed: see "
            f"{folder.readable_report}",
            err=True,
        )
    if made.stopped:
        click.echo(f"stopped: {made.stopped}; run the same command again to go on", err=True)
    if not (made.failed or made.left or made.stopped):
        sys.exit(0)
    if made.stopped == ASKED_TO_END and not made.failed:
        sys.exit(STOPPED)
    sys.exit(SOME_FAILED if made.converted + made.present else NOTHING_DONE)
