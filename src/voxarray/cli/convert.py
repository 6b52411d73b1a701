"""``voxarray convert``: one image into an archive or file, or many into a cohort of archives."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from voxarray.cli import options as choices
from voxarray.cli.console import console, how_it_speaks
from voxarray.cli.destinations import Destination, Kind, refuse_meaningless
from voxarray.cli.outcome import NOTHING_DONE, SOME_FAILED, STOPPED, Outcome, told_when_stopped
from voxarray.cohort.convert import watching
from voxarray.cohort.discover.files import images
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.item import Failure, Item
from voxarray.cohort.run.array_index import part_of_array
from voxarray.cohort.run.build import ASKED_TO_END, CohortResult, ExecutionOptions, build
from voxarray.cohort.run.interrupts import stoppable
from voxarray.cohort.run.progress import ProgressListener
from voxarray.cohort.run.task import Result
from voxarray.core.errors import FormatError
from voxarray.core.memory import format_bytes
from voxarray.core.progress import Progress
from voxarray.formats.suffixes import suffix_of
from voxarray.saving import convert
from voxarray.storage.remote.address import is_url

_TOLD = 20
"""Failures that are shown at the end; all are in the report."""

_OF_COHORTS = {
    "workers": "--workers",
    "scheduler": "--scheduler",
    "partition": "--partition",
    "max_failures": "--max-failures",
    "retry": "--retry",
    "image_pattern": "--image-pattern",
    "label_pattern": "--label-pattern",
    "image_column": "--image-column",
    "label_column": "--label-column",
    "subject_column": "--subject-column",
    "keep_metadata": "--keep-metadata",
}

_OF_ARCHIVES = {"levels": "--levels", "chunk": "--chunk", "codec": "--codec", "zipped": "--zip"}


def _part(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    number, slash, of = text.partition("/")
    if number == "auto" and of.isdigit() and int(of) > 0:
        try:
            return part_of_array(int(of))
        except FormatError as error:
            raise click.BadParameter(str(error)) from None
    if not (slash and number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise click.BadParameter(
            f"{text!r} is no part: write 3/16, from 1/16 to 16/16, or auto/16 in a job array"
        )
    return int(number), int(of)


@click.command("convert")
@click.argument("sources", nargs=-1, required=True)
@click.argument("destination")
@choices.how_archives_are_made
@choices.what_belongs_together
@click.option(
    "--memory",
    callback=choices.checked_size,
    help='Budget, such as "512 MiB" [default: half of the memory available to this process]',
)
@click.option("--overwrite", is_flag=True, help="Replace existing archives and files")
@click.option("--workers", type=click.IntRange(0), default=0, help="Processes on this machine")
@click.option("--scheduler", help="Address of a running dask scheduler, such as tcp://host:8786")
@click.option(
    "--partition",
    callback=_part,
    metavar="I/N",
    help="One part of a plan; auto/N in a job array (SLURM, PBS, LSF, SGE, Kubernetes)",
)
@click.option("--max-failures", type=click.IntRange(1), help="Stop after so many")
@click.option("--retry", is_flag=True, help="Also retry images that failed permanently")
@how_it_speaks(as_json=True)
def command(
    sources: tuple[str, ...], destination: str, memory: str | None, **arguments: Any
) -> None:
    """Convert SOURCES at DESTINATION: one image, or many into a cohort of Zarr archives.

    If DESTINATION is the name of an archive (.ome.zarr, .nii.zarr, .ozx) or of a file in another
    format (.nii.gz, .nrrd, .mha, ...), SOURCES is one image. Otherwise it is the folder of a
    cohort, and SOURCES are files, folders, globs, a BIDS dataset, a manifest (.csv, .tsv,
    .parquet), a list of paths or URLs (.txt), or URLs. What is up to date in the folder is not
    converted again: run the command again to resume.
    """
    import dask.config

    target = Destination.of(destination)
    if target.kind is not Kind.COHORT:
        unused = _OF_COHORTS if target.kind is Kind.ARCHIVE else {**_OF_COHORTS, **_OF_ARCHIVES}
        refuse_meaningless(target.kind, destination, unused)
    budget = {} if memory is None else {"voxarray.memory-budget": memory}
    with dask.config.set(budget), told_when_stopped(destination), stoppable():
        if target.kind is Kind.COHORT:
            _many(sources, CohortLayout.of(target.path), arguments)
        else:
            _one(sources, target, arguments)


def _one(sources: tuple[str, ...], target: Destination, arguments: dict[str, Any]) -> None:
    if arguments["zipped"] and suffix_of(target.path) != ".ozx":
        raise click.UsageError(f"--zip makes .ozx files, and {target.path} is none")
    source = _single(sources, target)
    outcome = Outcome()
    with outcome.attempt(source):
        done = convert(
            source,
            target.path,
            label=arguments["label"],
            codec=arguments["codec"],
            levels=arguments["levels"],
            chunks=arguments["chunk"],
            overwrite=arguments["overwrite"],
            progress=outcome.console.progress,
        )
        outcome.console.document.update(asdict(done), source=source)
        outcome.console.say(
            f"{done.path}: {format_bytes(done.source_bytes)} of voxels -> "
            f"{format_bytes(done.archive_bytes)} in {done.seconds:.2f} s"
        )
    outcome.exit()


def _single(sources: Sequence[str], target: Destination) -> str:
    """The one image that an archive or a file is made of.

    Raises:
        click.UsageError: There are several, or none.
    """
    named = choices.expanded(sources)
    found = [one for s in named for one in ([s] if is_url(s) else map(str, images(s)))]
    if len(found) != 1:
        raise click.UsageError(
            f"{target.path} names one {target.kind.value}, and {', '.join(sources[:3])} "
            f"{'holds' if len(sources) == 1 else 'hold'} {len(found)} images: give a folder as the "
            "destination"
        )
    return found[0]


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


def _many(sources: tuple[str, ...], folder: CohortLayout, arguments: dict[str, Any]) -> None:
    options, choice = choices.cohort_options(arguments), choices.choice(arguments)
    run = ExecutionOptions(
        workers=arguments["workers"],
        scheduler=arguments["scheduler"],
        partition=arguments["partition"],
        max_failures=arguments["max_failures"],
        retry=arguments["retry"],
        overwrite=arguments["overwrite"],
    )
    began = time.perf_counter()
    with watching(console().progress) as shown:
        totals = _Totals(shown)
        made = build(
            choices.expanded(sources),
            folder.root,
            options=options,
            choice=choice,
            run=run,
            watcher=totals,
        )
    _tell(made, folder, totals.voxel_bytes, time.perf_counter() - began)


def _tell(made: CohortResult, folder: CohortLayout, voxel_bytes: int, seconds: float) -> None:
    """Say what was done and end: 0 all good, 3 some failed, 1 nothing done, 75 stopped."""
    talk = console()
    talk.document.update(
        destination=folder.root,
        converted=made.converted,
        up_to_date=made.present,
        failed=made.failed,
        remaining=made.remaining,
        stopped=made.interrupted_by,
        voxel_bytes=voxel_bytes,
        seconds=round(seconds, 3),
        failures=[_failure(one) for one in made.failures],
    )
    talk.say(
        f"{folder.root}: {made.converted} converted, {made.present} up to date, {made.failed} "
        f"failed{f', {made.remaining} remaining' if made.remaining else ''}; "
        f"{format_bytes(voxel_bytes)} of voxels in {seconds:.1f} s"
    )
    if made.census is not None:
        talk.document["census"] = made.census.document()
        talk.say(str(made.census))
    for one in made.failures[:_TOLD]:
        told = _failure(one)
        talk.complain(f"{told['path']}: {told['code']}: {told['message']}")
    if made.failed:
        talk.complain(
            f"{made.failed} of {made.failed + made.converted + made.present} failed: see "
            f"{folder.readable_report if made.summary else folder.journal}"
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
