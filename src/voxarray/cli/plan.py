"""``voxarray plan``: what a cohort would be made from, frozen; no voxel is read."""

from __future__ import annotations

import os
from typing import Any

import click

from voxarray.cli import options as common
from voxarray.cli.console import console, output_options
from voxarray.cli.destinations import Destination
from voxarray.cli.job_array import as_job_array, queue, refuse_contradictions, repeated
from voxarray.cli.sources import sources_before_destination
from voxarray.cohort.catalogue.manifest_entries import entries_of
from voxarray.cohort.convert import watching
from voxarray.cohort.discover.census import Census
from voxarray.cohort.discover.input import source_told
from voxarray.cohort.plan.files_without_pixels import ignore_files_without_pixels
from voxarray.cohort.plan.previous import previous_plan
from voxarray.cohort.run.absent_labels import warn_of_absent_labels
from voxarray.cohort.run.build import discover_inputs, make_plan
from voxarray.cohort.run.lost_additions import warn_of_additions
from voxarray.cohort.run.plan_states import counted, states_of
from voxarray.core.printable import printable
from voxarray.storage.remote.address import is_url


@click.command("plan")
@sources_before_destination
@click.argument("destination")
@common.archive_options
@common.input_options
@click.option("--dry-run", is_flag=True, help="List every image, and write nothing")
@as_job_array
@output_options(as_json=True)
def command(
    sources: tuple[str, ...],
    destination: str,
    dry_run: bool,
    jobs: int | None,
    submit: bool,
    **arguments: Any,
) -> None:
    """Write a plan for converting SOURCES into a cohort.

    The plan is the file plan.json in the folder DESTINATION. Only headers are read, no voxels.
    `voxarray convert --partition I/N` converts part I of the plan; parts may run in any order, on
    any machine.
    """
    same = repeated(arguments)
    options, choice = common.pop_archive_options(arguments), common.pop_input_selection(arguments)
    expanded = common.expanded(sources)
    talk = console()
    refuse_contradictions(jobs, submit)
    if submit and dry_run:
        raise click.UsageError("--dry-run submits nothing: leave --submit out")
    target = Destination.of(destination)
    target.refuse_mistyped(sources)
    folder = target.require_cohort("plan")
    with watching(talk.progress) as watcher:
        census = Census()
        inputs = discover_inputs(expanded, folder.root, choice, options, census)
        previous = previous_plan(folder)
        plan = make_plan(inputs, expanded, folder.root, options, watcher, choice, write=not dry_run)
        ignore_files_without_pixels(plan.items, inputs, census)
    entries = entries_of(folder)
    warn_of_additions(plan, folder, entries)
    warn_of_absent_labels(plan, folder)
    if jobs is not None:
        locations = [source if is_url(source) else os.path.abspath(source) for source in expanded]
        work = ["convert", *locations, folder.root, *same]
        queue(plan, work, folder, jobs, submitting=submit, written=not dry_run)
        return
    states = {} if previous is None else states_of(plan, previous, folder, entries)
    if dry_run or talk.verbose:
        for item in plan.items:
            talk.say(printable(_row(item, states.get(item.slug))))
    talk.say(plan.summary())
    if states:
        talk.say(f"{counted(states)}: convert skips images that are up to date")
    talk.say(str(census))
    if not dry_run:
        talk.say(f"written to {folder.plan}")
    talk.document.update(
        destination=folder.root,
        written=not dry_run,
        census=census.document(),
        images=[_described(item, states.get(item.slug, "new")) for item in plan.items],
        voxel_bytes=sum(item.size for item in plan.items if item.failure is None),
        inodes=plan.inodes,
    )
    talk.finish()


def _described(item: Any, state: str) -> dict[str, Any]:
    """An image of the plan as JSON says it."""
    facts = {"source": item.origin.source, "subject": item.subject, "archive": item.slug}
    if item.failure is not None:
        return {**facts, "code": item.failure.code, "message": item.failure.message}
    header = item.header
    return {
        **facts,
        "state": state,
        "labels": [layer.name for layer in item.layers],
        "shape": list(header.shape),
        "spacing": list(header.spacing),
        "orientation": header.orientation,
        "dtype": str(header.dtype),
        "voxel_bytes": item.size,
    }


def _row(item: Any, state: str | None) -> str:
    source = source_told(item.origin.source)
    if item.failure is not None:
        return f"{source}: {item.failure.code}: {item.failure.message}"
    header = item.header
    labels = "".join(f" +{layer.name}" for layer in item.layers)
    spacing = " x ".join(f"{mm:g}" for mm in header.spacing)
    return (
        f"{source} -> {item.slug}{labels}: {header.shape}, {spacing} mm, "
        f"{header.orientation}+, {header.dtype}{f' [{state}]' if state else ''}"
    )
