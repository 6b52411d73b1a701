"""``voxarray convert``: one image into an archive or file, or many into a cohort of archives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from voxarray.cli import options as common
from voxarray.cli.console import output_options
from voxarray.cli.convert_ignored_options import OF_ARCHIVES, OF_COHORTS
from voxarray.cli.destinations import Destination, Kind, refuse_meaningless
from voxarray.cli.outcome import Outcome, path_without_secrets, told_when_stopped
from voxarray.cli.sources import sources_before_destination
from voxarray.cohort.run.interrupts import stoppable
from voxarray.core.memory import format_bytes
from voxarray.formats.suffixes import suffix_of
from voxarray.saving import convert
from voxarray.storage.remote.address import is_url


@click.command("convert")
@sources_before_destination
@click.argument("destination")
@click.option(
    "--suffix",
    metavar="SUFFIX",
    help="If SOURCES is a cohort: write its images and label maps as files of this format, "
    "such as .nii.gz, to DESTINATION/SUBJECT/NAME.nii.gz",
)
@common.query_option(
    "--query",
    help="If SOURCES is a cohort: only its images that match this condition, such as "
    '"spacing_max < 2"',
)
@common.archive_options
@common.input_options
@common.execution_options
@output_options(as_json=True)
def command(
    sources: tuple[str, ...], destination: str, memory: str | None, **arguments: Any
) -> None:
    """Convert SOURCES to DESTINATION: one image, or a cohort.

    If DESTINATION is the name of an archive (.ome.zarr, .nii.zarr, .zarr, .ozx) or of a file in
    another format (.nii.gz, .nrrd, .mha, ...), SOURCES must be one image.

    Otherwise DESTINATION becomes a cohort: a folder with a Zarr archive for each image, and a
    catalogue. SOURCES are files, folders, globs, a BIDS dataset, a manifest (a table of images:
    .csv, .tsv, .parquet), a list of paths or URLs (.txt), or URLs. Images that are up to date in
    DESTINATION are not converted again: run the command again to resume.

    SOURCES may also be one cohort. It becomes another cohort with the same subjects, label maps
    and metadata or, with --suffix, a folder of files. --query chooses a part of it. Give the part
    a DESTINATION of its own: archives that DESTINATION already holds stay there, chosen or not.
    """
    target = Destination.of(destination)
    target.refuse_mistyped(sources)
    if target.kind is not Kind.COHORT:
        is_file = target.kind is Kind.FILE
        unused = {**OF_COHORTS, **OF_ARCHIVES} if is_file else OF_COHORTS
        refuse_meaningless(target.kind, destination, unused)
    with common.budget(memory), told_when_stopped(destination), stoppable():
        if target.kind is Kind.COHORT:
            # Loaded here: starting took a third longer when one image loaded what cohorts need.
            from voxarray.cli.convert_many import convert_many

            convert_many(sources, target.path, arguments)
        else:
            _convert_one(sources, target, arguments)


def _convert_one(sources: tuple[str, ...], target: Destination, arguments: dict[str, Any]) -> None:
    if arguments["zipped"] and suffix_of(target.path) != ".ozx":
        raise click.UsageError(
            f"--zip makes .ozx files, and {target.path} is not one: leave --zip out, or choose a "
            "name that ends in .ozx"
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
        outcome.console.document.update(asdict(done), source=path_without_secrets(source))
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
    paths = [path for source in common.expanded(sources) for path in _images(source)]
    if len(paths) != 1:
        raise click.UsageError(
            f"{target.path} names one {target.kind.value}, and {', '.join(sources[:3])} "
            f"{'holds' if len(sources) == 1 else 'hold'} {len(paths)} images: give a folder as the "
            "destination"
        )
    return paths[0]


def _images(source: str) -> list[str]:
    """The images that a path or URL names: all of a folder, else itself."""
    if is_url(source):
        return [source]
    if not os.path.isdir(source):
        return [str(Path(source))]
    from voxarray.cohort.discover.files import images

    return [str(image) for image in images(source)]
