"""``voxarray add-labels``: a label map for an archive that is there."""

from __future__ import annotations

from typing import Any

import click

from voxarray.archive_object import Archive
from voxarray.cli.console import console, output_options
from voxarray.cli.options import checked_size


@click.command("add-labels")
@click.argument("archive")
@click.argument("name")
@click.argument("file")
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="VALUE=NAME",
    help="Name of a label value, such as 1=tumour; can be given several times",
)
@click.option(
    "--colour",
    "colours",
    multiple=True,
    metavar="VALUE=#RRGGBB",
    help="Colour of a label value; can be given several times",
)
@click.option(
    "--memory",
    callback=checked_size,
    help='Memory budget, such as "512 MiB" [default: half of the memory available to this process]',
)
@output_options(as_json=True)
def command(
    archive: str,
    name: str,
    file: str,
    names: tuple[str, ...],
    colours: tuple[str, ...],
    memory: str | None,
) -> None:
    """Add the label map in FILE to ARCHIVE under NAME.

    The label map must be on the grid of the archive's image, and is added completely or not at
    all. NAME is the name of the whole label map. The option --name names one label value; if you
    give it, give it for every value that occurs, except 0.
    """
    talk = console()
    opened = Archive(archive)
    opened.add_labels(
        name,
        file,
        names=_by_value(names) or None,
        colours=_by_value(colours) or None,
        memory=memory,
        progress=False if talk.quiet else None,
    )
    say_labels(opened, f"added {name}")


def say_labels(archive: Archive, action: str) -> None:
    """Say what was done, and end."""
    talk = console()
    labels, generation = list(archive.labels), archive.generation
    talk.document.update(archive=archive.path, labels=labels, generation=generation)
    talk.say(f"{archive.path}: {action}; label maps: {', '.join(labels) or 'none'}")
    talk.finish()


def _by_value(options: tuple[str, ...]) -> dict[int, Any]:
    result = {}
    for option in options:
        value, equals, text = option.partition("=")
        if not equals or not value.strip().lstrip("+-").isdecimal():
            raise click.UsageError(f"{option!r} is not VALUE=TEXT, such as 1=tumour")
        result[int(value)] = text
    return result
