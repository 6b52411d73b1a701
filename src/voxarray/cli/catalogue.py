"""``voxarray catalogue``: the table of a cohort."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from voxarray.cli.console import console
from voxarray.cli.options import query_option
from voxarray.cli.outcome import fatal
from voxarray.core.errors import FormatError
from voxarray.core.printable import cell, printable

if TYPE_CHECKING:
    from voxarray.cohort.cohort import Cohort

_SHOWN = (
    *("status", "subject", "image", "labels", "channels", "width", "height", "depth"),
    *("spacing_x", "spacing_y", "spacing_z", "orientation", "dtype", "minimum", "maximum"),
    *("modality", "archive"),
)

_IN_QUERIES = (
    "; the column 'images' (the names of all images of a subject) exists only in queries: "
    "--columns image,labels shows them row by row"
)


@click.command("catalogue")
@click.argument("destination", metavar="COHORT")
@query_option("--query", help='Only rows that match this condition, such as "spacing_max < 2"')
@click.option(
    "--columns",
    metavar="NAME,NAME,...",
    help="Columns to print. Metadata fields that `convert` kept are columns, too "
    "[default: a selection]",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, by default with all columns")
@click.option(
    "--log",
    metavar="SUBJECT",
    help="Print, instead of the catalogue, what happened to the images of SUBJECT, oldest first: "
    "a line for the start of each attempt, and one for its end, with time (UTC), duration, peak "
    "memory, warnings, and why it failed. The command takes this from COHORT/journal, and writes "
    "nothing",
)
@click.option("--json", "as_json", is_flag=True, help="With --log: print each event as JSON")
def command(
    destination: str,
    query: str | None,
    columns: str | None,
    as_csv: bool,
    log: str | None,
    as_json: bool,
) -> None:
    """Print the catalogue of COHORT: a row per image.

    COHORT is the folder that `voxarray convert` made.
    """
    from voxarray.cohort.cohort import Cohort

    if as_json and log is None:
        raise click.UsageError(
            "--json works with --log only: for a table that programs can read, use --csv"
        )
    with fatal():
        cohort = Cohort(destination)
    if log is not None:
        _print_log(cohort, log, as_json=as_json)
        return
    rows = cohort.table
    if query is not None:
        from voxarray.cohort.catalogue.query import matching

        try:
            rows = rows[matching(rows, query)]
        except FormatError as error:
            raise click.UsageError(str(error)) from None
    if columns is not None:
        rows = rows[_column_names(columns, list(rows))]
    if as_csv:
        rows = rows.map(cell).rename(columns=cell)
        console().say(rows.to_csv(index=False), newline=False)
        return
    if rows.empty:
        count = len(cohort.table)
        console().say(f"0 of {count} rows match" if count else "the catalogue has no rows")
        return
    visible = rows if columns is not None else rows[[name for name in _SHOWN if name in rows]]
    visible = visible.map(lambda value: printable(value) if isinstance(value, str) else value)
    console().say(visible.rename(columns=printable).to_string(index=False, na_rep="-"))


def _column_names(text: str, existing: list[str]) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    missing = [name for name in names if name not in existing]
    if missing or not names:
        raise click.UsageError(
            f"there is no column {', '.join(missing) or 'in --columns'}; the columns are "
            f"{', '.join(existing)}{_IN_QUERIES if 'images' in missing else ''}"
        )
    return names


def _print_log(cohort: Cohort, subject: str, *, as_json: bool) -> None:
    from voxarray.cli.events import in_words

    try:
        events = cohort.log(subject)
    except KeyError:
        raise click.UsageError(
            f"there is no subject {subject!r} in the catalogue: check the name"
        ) from None
    for event in events:
        console().say(json.dumps(event) if as_json else in_words(event))
