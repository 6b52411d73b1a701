"""``voxarray preprocess``: another cohort, of what a pipeline makes of each subject of a cohort."""

from __future__ import annotations

import os
from typing import Any

import click

from voxarray.cli import options as common
from voxarray.cli.cohort_run import run_and_report
from voxarray.cli.console import console, output_options
from voxarray.cli.destinations import Destination, flags_given
from voxarray.cli.given_cohort import queried
from voxarray.cli.job_array import as_job_array, queue, refuse_contradictions, repeated
from voxarray.cli.outcome import told_when_stopped
from voxarray.cohort.cohort import Cohort
from voxarray.cohort.convert import watching
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.run.interrupts import stoppable
from voxarray.storage.remote.address import is_url
from voxarray.storage.small_files import make_folder
from voxarray.transforms import Compose
from voxarray.transforms.pipeline_file import parsed

_OF_WORKERS = {
    "overwrite": "--overwrite",
    "workers": "--workers",
    "scheduler": "--scheduler",
    "partition": "--partition",
    "max_failures": "--max-failures",
    "retry": "--retry",
}


@click.command("preprocess")
@click.argument("cohort")
@click.argument("destination")
@click.option(
    "--pipeline",
    "file",
    required=True,
    type=click.Path(dir_okay=False),
    help="YAML file with a list of transforms. You can also use that of an earlier "
    "cohort: preprocess keeps it in the cohort's folder, as pipeline.yaml",
)
@common.query_option(
    "--query",
    help='Only the images of COHORT that match this condition, such as "spacing_max < 2"',
)
@click.option(
    "--mixed",
    is_flag=True,
    help="Keep archives of another pipeline in DESTINATION, for subjects that are not in this run. "
    "Without --mixed, such archives are an error",
)
@common.encoding_options
@common.execution_options
@as_job_array
@output_options(as_json=True)
def command(
    cohort: str,
    destination: str,
    file: str,
    query: str | None,
    mixed: bool,
    memory: str | None,
    jobs: int | None,
    submit: bool,
    **arguments: Any,
) -> None:
    """Apply a pipeline of transforms to the subjects of COHORT.

    The results are a new cohort in DESTINATION. The pipeline is a YAML list. Each
    entry has the key "operation", with the name of a transform of voxarray.transforms, and may have
    the key "arguments", with arguments by name. Images that are up to date in DESTINATION are not
    made again: run the command again to resume.
    """
    import dask.config

    refuse_contradictions(jobs, submit)
    if jobs is not None and (unused := flags_given(_OF_WORKERS)):
        raise click.UsageError(
            f"{', '.join(unused)} would have no effect on a job array: leave out "
            f"{', '.join(unused)} or --slurm"
        )
    folder = Destination.of(destination).require_cohort("preprocess")
    (path,) = common.expanded([cohort])
    budget = {} if memory is None else {"voxarray.memory-budget": memory}
    with dask.config.set(budget), told_when_stopped(destination), stoppable():
        pipeline = _pipeline(os.path.expanduser(file))
        mapped = queried(Cohort(path), query).map(pipeline)
        archive_options = {name: arguments[name] for name in ("levels", "chunk", "codec", "zipped")}
        options = ArchiveOptions(**archive_options)
        if jobs is not None:
            with watching(console().progress) as watcher:
                plan = mapped.freeze(folder, options, watcher, mixed=mixed)
            pipeline_path = folder.pipeline
            if is_url(pipeline_path):  # jobs read it from beside their logs
                make_folder(folder.logs)
                pipeline_path = os.path.join(folder.logs, "pipeline.yaml")
                pipeline.to_yaml(pipeline_path)
            same_options = repeated(
                {**archive_options, "pipeline": pipeline_path, "query": query, "memory": memory}
            )
            work = ["preprocess", mapped.cohort.path, folder.root, *same_options]
            queue(plan, work, folder, jobs, submitting=submit)
            return
        run = common.pop_execution_options(arguments)
        run_and_report(
            folder, lambda watcher: mapped.make(folder.root, options, run, watcher, mixed=mixed)
        )


def _pipeline(file: str) -> Compose:
    """The pipeline in a file, in the form in which it is kept beside the cohort and read by jobs.

    Raises:
        FormatError, MissingFileError: As `Compose.from_yaml`.
    """
    return Compose(parsed(Compose.from_yaml(file).to_yaml(), file))
