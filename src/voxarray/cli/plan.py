"""``voxarray plan``: what a cohort would be made from, frozen; no voxel is read."""

from __future__ import annotations

from typing import Any

import click

from voxarray.cli import options as choices
from voxarray.cli.fatal import fatal
from voxarray.cohort.discover.census import Census
from voxarray.cohort.run import slurm
from voxarray.cohort.run.build import found_in, make_plan
from voxarray.cohort.run.progress import bars
from voxarray.core.printable import printable


@click.command("plan")
@click.argument("sources", nargs=-1, required=True)
@click.argument("destination")
@choices.how_archives_are_made
@choices.what_belongs_together
@click.option("--dry-run", is_flag=True, help="Print every image, and write nothing")
@click.option("--slurm", "jobs", type=click.IntRange(1), help="Print an sbatch script of so many")
def command(
    sources: tuple[str, ...],
    destination: str,
    dry_run: bool,
    jobs: int | None,
    **arguments: Any,
) -> None:
    """Find and open the images that SOURCES mean, and freeze what convert will do in DESTINATION.

    Headers are read, voxels are not. `voxarray convert --partition I/N` converts parts of the
    plan, in any order, on any machine.
    """
    same = _repeated(arguments)
    options, choice = choices.cohort_options(arguments), choices.choice(arguments)
    named = choices.expanded(sources)
    with fatal():
        with bars() as watcher:
            census = Census()
            found = found_in(named, destination, choice, options, census)
            plan = make_plan(found, named, destination, options, watcher, write=not dry_run)
        if jobs is not None:
            click.echo(slurm.script(plan, named, destination, jobs, arguments=same), nl=False)
            return
        if dry_run:
            for item in plan.items:
                click.echo(printable(_row(item)))
        click.echo(plan.summary())
        click.echo(str(census))


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
