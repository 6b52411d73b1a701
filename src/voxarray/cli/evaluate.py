"""``voxarray evaluate``: how well label maps agree with others, as a table."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from voxarray.cli.console import console, output_options
from voxarray.cli.given_cohort import is_cohort
from voxarray.cli.options import checked_size, query_option
from voxarray.cli.outcome import Outcome
from voxarray.cohort.cohort import Cohort
from voxarray.core.errors import VoxarrayError
from voxarray.core.printable import cell, printable
from voxarray.inference.cohort_scores import SubjectsFailedError
from voxarray.inference.evaluate import Evaluation, evaluate

if TYPE_CHECKING:
    import pandas as pd


def _numbers(_: click.Context, __: click.Parameter, text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a list of labels: write numbers, such as 1,2,5"
        ) from None


@click.command("evaluate")
@click.argument("prediction")
@click.argument("reference")
@click.option(
    "--layer",
    help="If PREDICTION is a cohort: in each subject, the label map of this name is the prediction",
)
@click.option(
    "--reference-layer",
    help="If REFERENCE is a cohort: in each subject, the label map of this name is the reference",
)
@query_option(
    "--query",
    help="If both are cohorts: only subjects of PREDICTION that match this condition, such as "
    "\"'organs' in labels\"",
)
@query_option(
    "--reference-query",
    help="If both are cohorts: only subjects of REFERENCE that match this condition",
)
@click.option(
    "--labels", callback=_numbers, metavar="N,N,...", help="Labels to compare [default: all but 0]"
)
@click.option(
    "--no-surfaces",
    is_flag=True,
    help="Do not compare surfaces, and so use less memory: to compare them, the bounding box of a "
    "label must be in memory as a whole",
)
@click.option("--montage", metavar="FILE", help="Also save a picture: predictions over their scans")
@click.option(
    "--images",
    metavar="PATH",
    help="Scan or cohort of scans for the picture [default: if REFERENCE is a cohort, its scans]",
)
@click.option(
    "--most",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Largest number of subjects in the picture",
)
@click.option(
    "--memory",
    callback=checked_size,
    help='Memory budget, such as "512 MiB" [default: half of the memory available to this process]',
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV")
@output_options(as_json=True)
def command(
    prediction: str,
    reference: str,
    query: str | None,
    reference_query: str | None,
    images: str | None,
    no_surfaces: bool,
    memory: str | None,
    as_csv: bool,
    **arguments: Any,
) -> None:
    """Compare label maps: Dice, volumes, distances between surfaces.

    PREDICTION and REFERENCE are two label maps on one grid, or two cohorts with the same
    subjects. They may also be the same cohort: then --layer and --reference-layer choose two of
    its label maps. A row is printed for each label, or for each subject and label.

    If a subject cannot be compared, for example because its two label maps are on different grids,
    it is named, the others are compared, and the exit code is 3.
    """
    import dask.config

    talk = console()
    if as_csv and talk.as_json:
        raise click.UsageError("--csv and --json cannot both be given")
    budget = {} if memory is None else {"voxarray.memory-budget": memory}
    failed: SubjectsFailedError | None = None
    with dask.config.set(budget):
        try:
            scores = evaluate(
                *_chosen(_opened(prediction), _opened(reference), query, reference_query),
                images=None if images is None else _opened(images),
                surfaces=not no_surfaces,
                progress=talk.progress,
                **arguments,
            )
        except SubjectsFailedError as error:
            scores, failed = error.table, error
        except VoxarrayError:
            raise
        except (TypeError, ValueError) as error:  # arguments that do not go together
            raise click.UsageError(str(error)) from error
    table = scores.table if isinstance(scores, Evaluation) else scores
    talk.document.update(prediction=prediction, reference=reference, scores=_records(table))
    if as_csv:
        talk.say(table.map(cell).to_csv(index=False), newline=False)
    else:
        printable_table = table.map(
            lambda value: printable(value) if isinstance(value, str) else value
        )
        talk.say(printable_table.to_string(index=False, na_rep="-", float_format="{:.4g}".format))
    if failed is None:
        talk.finish()
    outcome = Outcome(done=[*failed.compared])
    for name, why in failed.failures.items():
        outcome.fail(name, why)
    outcome.exit()


def _opened(path: str) -> Any:
    """A cohort, or the path of a label map."""
    path = os.path.expanduser(path)
    return Cohort(path) if is_cohort(path) else path


def _chosen(
    prediction: Any, reference: Any, query: str | None, reference_query: str | None
) -> tuple[Any, Any]:
    """What is compared: of two cohorts, the subjects that the queries choose."""
    queries = {"--query": query, "--reference-query": reference_query}
    given = {option: text for option, text in queries.items() if text is not None}
    if not given:
        return prediction, reference
    if not (isinstance(prediction, Cohort) and isinstance(reference, Cohort)):
        raise click.UsageError(
            f"{next(iter(given))} chooses among the subjects of two cohorts, but PREDICTION or "
            "REFERENCE is not a cohort: leave the query out"
        )
    for option, text in given.items():
        asked, other = (prediction, reference) if option == "--query" else (reference, prediction)
        asked = asked.query(text)
        if not len(asked):
            raise click.UsageError(f"no subject of {asked.path} matches {option} {text!r}")
        other = other.where(other.table["subject"].isin(asked.names))
        prediction, reference = (asked, other) if option == "--query" else (other, asked)
    return prediction, reference


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: what is no number is null."""
    return [
        {key: None if value != value else value for key, value in row.items()}
        for row in table.to_dict("records")
    ]
