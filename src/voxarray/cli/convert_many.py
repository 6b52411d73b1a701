"""Many images into a cohort of archives, or a cohort into another one or into files.

Apart from ``voxarray convert`` of one image, which starts in two thirds of the time without.
"""

from __future__ import annotations

from typing import Any, NoReturn

import click

from voxarray.cli import options as common
from voxarray.cli.cohort_run import run_and_report
from voxarray.cli.convert_ignored_options import NOT_OF_FILES, OF_ARCHIVES, OF_SOURCES
from voxarray.cli.destinations import flags_given
from voxarray.cli.given_cohort import queried
from voxarray.cohort.catalogue.absent_images import warn_of_absent
from voxarray.cohort.cohort import Cohort
from voxarray.cohort.discover.search import cohort_named, why_no_cohort
from voxarray.cohort.export import export
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.run.build import ExecutionOptions, build
from voxarray.cohort.run.progress import ProgressListener
from voxarray.cohort.run.result import CohortResult


def convert_many(sources: tuple[str, ...], destination: str, arguments: dict[str, Any]) -> NoReturn:
    """Convert sources to a cohort, or a cohort to files; ends the process as `run_and_report` does.

    Args:
        sources: As they were given.
        destination: Folder of the results.
        arguments: Of the command, which are taken out.

    Raises:
        click.UsageError: An option would have no effect.
    """
    folder = CohortLayout.of(destination)
    suffix, query = arguments.pop("suffix"), arguments.pop("query")
    options, choice = common.pop_archive_options(arguments), common.pop_input_selection(arguments)
    run = common.pop_execution_options(arguments)
    expanded = common.expanded(sources)
    cohort = cohort_named(expanded)
    if cohort is not None:
        _cohort(Cohort(cohort), query, folder, options, run, suffix)
    if suffix is not None:
        raise click.UsageError(
            "--suffix writes the images of a cohort as files, but "
            + why_no_cohort(expanded, "--suffix")
        )
    if query is not None:
        raise click.UsageError(
            "--query chooses among the images of a cohort, but "
            + why_no_cohort(expanded, "--query")
        )

    def work(watcher: ProgressListener) -> CohortResult:
        return build(
            expanded, folder.root, options=options, choice=choice, run=run, watcher=watcher
        )

    run_and_report(folder, work)


def _cohort(
    cohort: Cohort,
    query: str | None,
    folder: CohortLayout,
    options: ArchiveOptions,
    run: ExecutionOptions,
    suffix: str | None,
) -> NoReturn:
    """Another cohort of one, or files of its images."""
    meaningless = OF_SOURCES | ({} if suffix is None else OF_ARCHIVES | NOT_OF_FILES)
    if unused := flags_given(meaningless):
        product = "files" if suffix else "a cohort"
        raise click.UsageError(
            f"{', '.join(unused)} would have no effect when the cohort {cohort.path} becomes "
            f"{product}: leave out {', '.join(unused)}"
        )
    cohort = queried(cohort, query)
    if suffix is None:
        from voxarray.cohort.unchanged import Unchanged

        unchanged = cohort.map(Unchanged())
        run_and_report(folder, lambda watcher: unchanged.make(folder.root, options, run, watcher))
    warn_of_absent(cohort.table, cohort.path)
    members = [cohort.member(name) for name in cohort.names]
    run_and_report(
        folder, lambda watcher: export(members, folder.root, suffix, run, watcher), of_files=True
    )
