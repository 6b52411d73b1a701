"""``voxarray convert``: one image into an archive or file, or many into a cohort of archives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NoReturn

import click

from voxarray.cli import options as choices
from voxarray.cli.cohort_run import tell
from voxarray.cli.console import how_it_speaks
from voxarray.cli.destinations import Destination, Kind, given, refuse_meaningless
from voxarray.cli.outcome import Outcome, told_when_stopped, without_secrets
from voxarray.cli.sources import sources_before_destination
from voxarray.cohort.catalogue.absent_images import warn_of_absent
from voxarray.cohort.cohort import Cohort
from voxarray.cohort.discover.files import images
from voxarray.cohort.discover.search import cohort_named, why_no_cohort
from voxarray.cohort.export import export
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.run.build import ExecutionOptions, build
from voxarray.cohort.run.interrupts import stoppable
from voxarray.cohort.run.progress import ProgressListener
from voxarray.cohort.run.result import CohortResult
from voxarray.core.memory import format_bytes
from voxarray.formats.suffixes import suffix_of
from voxarray.saving import convert
from voxarray.storage.remote.address import is_url

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
    "suffix": "--suffix",
}

_OF_SOURCES = {
    name: _OF_COHORTS[name]
    for name in (
        *("image_pattern", "label_pattern", "image_column", "label_column", "subject_column"),
        "keep_metadata",
    )
} | {"label": "--label"}
"""What a cohort as the source says itself."""

_NOT_OF_FILES = {"retry": "--retry"}

_OF_ARCHIVES = {"levels": "--levels", "chunk": "--chunk", "codec": "--codec", "zipped": "--zip"}


@click.command("convert")
@sources_before_destination
@click.argument("destination")
@click.option(
    "--suffix",
    metavar="SUFFIX",
    help="If SOURCES is a cohort: write its images and label maps as files of this format, "
    "such as .nii.gz, to DESTINATION/SUBJECT/NAME.nii.gz",
)
@choices.how_archives_are_made
@choices.what_belongs_together
@choices.who_does_it
@how_it_speaks(as_json=True)
def command(
    sources: tuple[str, ...], destination: str, memory: str | None, **arguments: Any
) -> None:
    """Convert SOURCES to DESTINATION: one image, or a cohort.

    If DESTINATION is the name of an archive (.ome.zarr, .nii.zarr, .zarr, .ozx) or of a file in
    another format (.nii.gz, .nrrd, .mha, ...), SOURCES must be one image.

    Otherwise DESTINATION becomes a cohort: a folder with a Zarr archive for each image, and a
    catalogue. SOURCES are files, folders, globs, a BIDS dataset, a manifest (.csv, .tsv,
    .parquet), a list of paths or URLs (.txt), or URLs. Images that are up to date in DESTINATION
    are not converted again: run the command again to resume.

    SOURCES may also be one cohort. It becomes another cohort with the same subjects, label maps
    and metadata or, with --suffix, a folder of files.
    """
    import dask.config

    target = Destination.of(destination)
    target.refuse_mistyped(sources)
    if target.kind is not Kind.COHORT:
        unused = _OF_COHORTS if target.kind is Kind.ARCHIVE else {**_OF_COHORTS, **_OF_ARCHIVES}
        refuse_meaningless(target.kind, destination, unused)
    budget = {} if memory is None else {"voxarray.memory-budget": memory}
    with dask.config.set(budget), told_when_stopped(destination), stoppable():
        if target.kind is Kind.COHORT:
            _many(sources, CohortLayout.of(target.path), arguments, arguments.pop("suffix"))
        else:
            _one(sources, target, arguments)


def _one(sources: tuple[str, ...], target: Destination, arguments: dict[str, Any]) -> None:
    if arguments["zipped"] and suffix_of(target.path) != ".ozx":
        raise click.UsageError(
            f"--zip makes .ozx files, and {target.path} is not one: leave --zip out, or choose a "
            "name in .ozx"
        )
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
        outcome.console.document.update(asdict(done), source=without_secrets(source))
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


def _many(
    sources: tuple[str, ...],
    folder: CohortLayout,
    arguments: dict[str, Any],
    suffix: str | None,
) -> None:
    options, choice = choices.cohort_options(arguments), choices.choice(arguments)
    run = choices.execution(arguments)
    named = choices.expanded(sources)
    cohort = cohort_named(named)
    if cohort is not None:
        _cohort(Cohort(cohort), folder, options, run, suffix)
    if suffix is not None:
        raise click.UsageError(
            f"--suffix writes the images of a cohort as files, but {why_no_cohort(named)}"
        )

    def work(watcher: ProgressListener) -> CohortResult:
        return build(named, folder.root, options=options, choice=choice, run=run, watcher=watcher)

    tell(folder, work)


def _cohort(
    cohort: Cohort,
    folder: CohortLayout,
    options: ArchiveOptions,
    run: ExecutionOptions,
    suffix: str | None,
) -> NoReturn:
    """Another cohort of one, or files of its images."""
    meaningless = _OF_SOURCES | ({} if suffix is None else _OF_ARCHIVES | _NOT_OF_FILES)
    if unused := given(meaningless):
        what = "files" if suffix else "a cohort"
        raise click.UsageError(
            f"{', '.join(unused)} would have no effect when the cohort {cohort.path} becomes "
            f"{what}: leave out {', '.join(unused)}"
        )
    if suffix is None:
        from voxarray.cohort.unchanged import Unchanged

        again = cohort.map(Unchanged())
        tell(folder, lambda watcher: again.make(folder.root, options, run, watcher))
    warn_of_absent(cohort.table, cohort.path)
    members = [cohort.member(name) for name in cohort.names]
    tell(folder, lambda watcher: export(members, folder.root, suffix, run, watcher), of_files=True)
