"""``voxarray convert``: images into archives, one each, whole or not at all."""

from __future__ import annotations

import os

import click

from voxarray.archive.codecs import PROFILES
from voxarray.archive.convert import convert
from voxarray.archive.metadata import Kind
from voxarray.archive.options import Options
from voxarray.cli.discover import destinations
from voxarray.cli.outcome import Outcome
from voxarray.cli.progress import bar
from voxarray.memory import format_bytes
from voxarray.sources.registry import open_source


def _checked_size(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    from dask.utils import parse_bytes

    if text is not None:
        try:
            parse_bytes(text)
        except ValueError:
            raise click.BadParameter(f"{text!r} is no size: write 512 MiB or 4 GB") from None
    return text


@click.command("convert")
@click.argument("sources", nargs=-1, required=True)
@click.argument("destination")
@click.option("--levels", type=click.IntRange(1), help="Pyramid levels [default: as many as help]")
@click.option("--chunk", type=click.IntRange(2), help="Edge of a chunk in voxels, even [64]")
@click.option("--codec", type=click.Choice(sorted(PROFILES)), help="[default: by the voxels]")
@click.option("--label", is_flag=True, help="The images are label maps: pyramids by vote")
@click.option(
    "--memory",
    callback=_checked_size,
    help='Budget, such as "512 MiB" [default: half of what there is]',
)
@click.option("--zip", "zipped", is_flag=True, help="One .ozx file per image, not a folder")
@click.option("--overwrite", is_flag=True, help="Exchange archives that exist")
def command(
    sources: tuple[str, ...],
    destination: str,
    levels: int | None,
    chunk: int | None,
    codec: str | None,
    label: bool,
    memory: str | None,
    zipped: bool,
    overwrite: bool,
) -> None:
    """Convert SOURCES (files, or folders of files) into Zarr archives at DESTINATION.

    DESTINATION is a folder, or the archive itself (.ome.zarr, .nii.zarr, .ozx) for one image.
    """
    import dask.config

    options = Options(levels=levels, chunk=chunk, codec=codec, overwrite=overwrite)
    pairs = destinations(sources, destination, zipped)
    outcome = Outcome()
    budget = {} if memory is None else {"voxarray.memory-budget": memory}
    with dask.config.set(budget), bar(len(pairs)) as begin:
        for image, archive in pairs:
            with outcome.attempt(str(image)):
                source = open_source(os.path.expanduser(image))
                kind: Kind = "label" if label else "intensity"
                progress = begin(image.name)
                done = convert(source, archive, kind=kind, options=options, progress=progress)
                click.echo(
                    f"{done.path}: {format_bytes(done.source_bytes)} -> "
                    f"{format_bytes(done.archive_bytes)} in {done.seconds:.2f} s"
                )
    outcome.exit()
