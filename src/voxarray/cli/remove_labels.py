"""``voxarray remove-labels``: a label map that goes from an archive, or from all of a cohort."""

from __future__ import annotations

import os
from typing import NoReturn

import click

from voxarray.archive.layers import remove_layer
from voxarray.archive_object import Archive, tell_cohorts
from voxarray.cli.add_labels import say_labels
from voxarray.cli.console import output_options
from voxarray.cli.given_cohort import is_cohort
from voxarray.cli.outcome import Outcome
from voxarray.cohort.catalogue.manifest_entries import entries_at
from voxarray.cohort.cohort import Cohort
from voxarray.cohort.folder import CohortLayout


@click.command("remove-labels")
@click.argument("archive")
@click.argument("name")
@output_options(as_json=True)
def command(archive: str, name: str) -> None:
    """Remove the label map NAME, with its files, from ARCHIVE.

    ARCHIVE may also be a cohort: then NAME is removed from every archive of the cohort that has it.
    A label map that is an archive of its own is not removed.
    """
    archive = os.path.expanduser(archive)
    if is_cohort(archive):
        _remove_everywhere(Cohort(archive), name)
    opened = Archive(archive)
    opened.remove_labels(name)
    say_labels(opened, f"removed {name}")


def _remove_everywhere(cohort: Cohort, name: str) -> NoReturn:
    """Remove a label map from each archive that has it, and end."""
    has_it = _archives_with(cohort, name)
    outcome = Outcome()
    outcome.console.document.update(cohort=cohort.path, name=name)
    try:
        for path in has_it:
            with outcome.attempt(path):
                remove_layer(path, name)
    finally:  # once for all: to write the catalogue takes longer than to remove a label map
        if outcome.done:
            tell_cohorts(outcome.done)
    outcome.console.document["removed_from"] = outcome.done
    if outcome.done:
        count = len(outcome.done)
        archives = f"{count} archive{'' if count == 1 else 's'}"
        outcome.console.say(f"{cohort.path}: removed {name} from {archives}")
    outcome.exit(f"NO_LABELS: no archive of {cohort.path} has a label map {name!r}: check the name")


def _archives_with(cohort: Cohort, name: str) -> list[str]:
    """Paths of archives that have a label map, by what they say themselves.

    A catalogue may be older, and lists no archive of an image that failed when it was to be made
    again. It is asked about archives that say nothing: they are damaged, and named as such.
    """
    paths = list(CohortLayout.of(cohort.path).archives())
    entries = entries_at(paths)
    rows = zip(cohort.table["archive"], cohort.table["labels"], strict=True)
    listed = {
        os.path.basename(archive)
        for archive, labels in rows
        if name in labels and archive == archive
    }
    return [
        path
        for path, entry in ((path, entries[os.path.basename(path)]) for path in paths)
        if (name in entry.labels if entry else os.path.basename(path) in listed)
    ]
