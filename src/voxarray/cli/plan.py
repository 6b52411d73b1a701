"""``voxarray plan``: what a cohort would be made from, frozen; no voxel is read."""

from __future__ import annotations

import os
from typing import Any

import click

from voxarray.cli import options as choices
from voxarray.cli.console import console, how_it_speaks
from voxarray.cli.destinations import Destination
from voxarray.cohort.convert import watching
from voxarray.cohort.discover.census import Census
from voxarray.cohort.run import slurm
from voxarray.cohort.run.build import discover_inputs, make_plan
from voxarray.core.printable import printable


@click.command("plan")
@click.argument("sources", nargs=-1, required=True)
@click.argument("destination")
@choices.how_archives_are_made
@choices.what_belongs_together
@click.option("--dry-run", is_flag=True, help="Print every image, and write nothing")
@click.option(
    "--slurm", "jobs", metavar="N", type=click.IntRange(1), help="Print a SLURM job array of N jobs"
)
@click.option("--submit", is_flag=True, help="Submit the job array, and the catalogue after it")
@how_it_speaks(as_json=True)
def command(
    sources: tuple[str, ...],
    destination: str,
    dry_run: bool,
    jobs: int | None,
    submit: bool,
    **arguments: Any,
) -> None:
    """Write a plan for the images that SOURCES mean: DESTINATION/plan.json.

    DESTINATION is the folder of a cohort. Headers are read, voxels are not. `voxarray convert
    --partition I/N` converts parts of the plan, in any order, on any machine.
    """
    same = _repeated(arguments)
    options, choice = choices.cohort_options(arguments), choices.choice(arguments)
    named = choices.expanded(sources)
    talk = console()
    if submit and (jobs is None or dry_run):
        raise click.UsageError("--submit submits what --slurm N would print, without --dry-run")
    if jobs is not None and (talk.as_json or talk.quiet):
        raise click.UsageError("--slurm prints a script: leave --json and --quiet out")
    folder = Destination.of(destination).require_cohort("plan")
    with watching(talk.progress) as watcher:
        census = Census()
        found = discover_inputs(named, folder.root, choice, options, census)
        plan = make_plan(found, named, folder.root, options, watcher, write=not dry_run)
    if jobs is not None:
        text = slurm.script(plan, named, destination, jobs, arguments=same)
        if submit:
            array, last = slurm.submit(text, destination)
            talk.say(f"submitted: array {array}, catalogue {last}; logs in {slurm.logs_of(folder)}")
            return
        if not dry_run:
            os.makedirs(slurm.logs_of(folder), exist_ok=True)
        talk.say(text, newline=False)
        return
    if dry_run or talk.verbose:
        for item in plan.items:
            talk.say(printable(_row(item)))
    talk.say(plan.summary())
    talk.say(str(census))
    if not dry_run:
        talk.say(f"written to {folder.plan}")
    talk.document.update(
        destination=folder.root,
        written=not dry_run,
        census=census.document(),
        images=[_described(item) for item in plan.items],
        voxel_bytes=sum(item.size for item in plan.items if item.failure is None),
    )
    talk.finish()


def _described(item: Any) -> dict[str, Any]:
    """An image of the plan as JSON says it."""
    facts = {"source": item.origin.source, "subject": item.subject, "archive": item.slug}
    if item.failure is not None:
        return {**facts, "code": item.failure.code, "message": item.failure.message}
    header = item.header
    return {
        **facts,
        "labels": [layer.name for layer in item.layers],
        "shape": list(header.shape),
        "spacing": list(header.spacing),
        "orientation": header.orientation,
        "dtype": str(header.dtype),
        "voxel_bytes": item.size,
    }


def _row(item: Any) -> str:
    if item.failure is not None:
        return f"{item.origin.source}: {item.failure.code}: {item.failure.message}"
    header = item.header
    labels = "".join(f" +{layer.name}" for layer in item.layers)
    spacing = " x ".join(f"{mm:g}" for mm in header.spacing)
    return (
        f"{item.origin.source} -> {item.slug}{labels}: {header.shape}, {spacing} mm, "
        f"{header.orientation}+, {header.dtype}"
    )


def _repeated(arguments: dict[str, Any]) -> list[str]:
    """The options of this call as a command line has them, for the jobs."""
    words: list[str] = []
    for name, value in arguments.items():
        flag = f"--{'zip' if name == 'zipped' else name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif isinstance(value, tuple):
            for one in value:
                pair = isinstance(one, tuple)
                text = (f"{one[0]}={one[1]}" if one[0] else one[1]) if pair else one
                words += [flag, text]
        elif value not in (None, False):
            words += [flag, str(value)]
    return words
