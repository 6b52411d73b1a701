"""``voxarray finalise``: the catalogue of a cohort from what is there."""

from __future__ import annotations

import click

from voxarray.cli.console import console, output_options
from voxarray.cli.destinations import Destination
from voxarray.cohort.catalogue.finalise import finalise
from voxarray.cohort.run.slurm_submit import RESUBMISSIONS, resubmit
from voxarray.core.exit_codes import NOTHING_DONE, SOME_FAILED


@click.command("finalise")
@click.argument("destination", metavar="COHORT")
@click.option(
    "--resubmit",
    "script",
    type=click.Path(),
    metavar="SCRIPT",
    help="SLURM script that converts the cohort. Tasks with missing images are submitted again, "
    "followed by a job that runs finalise with the same option. This is done at most "
    f"{RESUBMISSIONS} times, each time with twice the memory of the time before. "
    "Images that failed because of their content, such as damaged files, do not count as missing",
)
@click.option(
    "--attempt",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How many times SCRIPT has been submitted so far. The jobs that voxarray submits set this "
    "option; do not set it yourself",
)
@output_options(as_json=False)
def command(destination: str, script: str | None, attempt: int) -> None:
    """Write the catalogue and the report of COHORT.

    Run it when all parts of a plan are converted (convert --partition). It also prints which images
    have no archive, and why.
    """
    talk = console()
    folder = Destination.of(destination).require_cohort("finalise")
    summary = finalise(folder.root)
    talk.say(str(summary), newline=False)
    for name in summary.strangers:
        talk.complain(
            f"{name}: not a complete archive of a cohort, so it is not in the catalogue; delete "
            "it, or convert again"
        )
    if script is not None:
        submitted = resubmit(folder, script, attempt, summary.missing)
        if submitted is not None:
            talk.say(str(submitted))
            return
    if summary.missing or summary.namesakes:  # a cohort cannot open subjects with namesakes
        talk.finish(SOME_FAILED if summary.done else NOTHING_DONE)
