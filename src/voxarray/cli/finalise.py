"""``voxarray finalise``: the catalogue of a cohort from what is there."""

from __future__ import annotations

import click

from voxarray.cli.console import console, how_it_speaks
from voxarray.cli.destinations import Destination
from voxarray.cli.outcome import NOTHING_DONE, SOME_FAILED
from voxarray.cohort.catalogue.finalise import finalise


@click.command("finalise")
@click.argument("destination")
@how_it_speaks(as_json=False)
def command(destination: str) -> None:
    """Make catalogue and report of the cohort in DESTINATION, and name what is missing."""
    talk = console()
    summary = finalise(Destination.of(destination).require_cohort("finalise").root)
    talk.say(str(summary), newline=False)
    for name in summary.strangers:
        talk.complain(f"{name}: not a complete archive of a cohort")
    if summary.missing:
        talk.finish(SOME_FAILED if summary.done else NOTHING_DONE)
