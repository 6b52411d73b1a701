"""``voxarray finalise``: the catalogue of a cohort from what is there."""

from __future__ import annotations

import sys

import click

from voxarray.cli.fatal import NOTHING_DONE, SOME_FAILED, fatal
from voxarray.cohort.catalogue.finalise import finalise


@click.command("finalise")
@click.argument("destination")
def command(destination: str) -> None:
    """Make catalogue and report of the cohort in DESTINATION, and name what is missing."""
    with fatal():
        summary = finalise(destination)
    click.echo(str(summary), nl=False)
    for name in summary.strangers:
        click.echo(f"{name}: no whole archive that a cohort made", err=True)
    if summary.missing:
        sys.exit(SOME_FAILED if summary.done else NOTHING_DONE)
