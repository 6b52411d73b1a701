"""``voxarray remove-labels``: a label map that goes from an archive."""

from __future__ import annotations

import click

from voxarray.cli.add_labels import told
from voxarray.cli.console import how_it_speaks
from voxarray.layers import Archive


@click.command("remove-labels")
@click.argument("archive")
@click.argument("name")
@how_it_speaks(as_json=True)
def command(archive: str, name: str) -> None:
    """Remove the label map NAME from ARCHIVE, and its files."""
    opened = Archive(archive)
    opened.remove_labels(name)
    told(opened, f"removed {name}")
