"""Making a cohort: plan, convert what is missing, finalise."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from voxarray.cohort.catalogue import part_failures
from voxarray.cohort.catalogue.finalise import Found, conclude, found_in
from voxarray.cohort.catalogue.journal import Journal
from voxarray.cohort.catalogue.kept_manifests import keeping
from voxarray.cohort.catalogue.pipelines import refuse_other_pipelines
from voxarray.cohort.discover.applied_selection import applied
from voxarray.cohort.discover.census import Census
from voxarray.cohort.discover.input import DiscoveredInput
from voxarray.cohort.discover.locate import locate
from voxarray.cohort.discover.remarks import warn_of_patterns
from voxarray.cohort.discover.search import cohort_named, search
from voxarray.cohort.enclosing import refuse_cohort_among_results
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import ArchiveOptions, InputSelection
from voxarray.cohort.plan.changed_selection import check_changed_selection, noted
from voxarray.cohort.plan.files_without_pixels import ignore_files_without_pixels
from voxarray.cohort.plan.item import Item
from voxarray.cohort.plan.opened_inputs import FileOpener, Opener
from voxarray.cohort.plan.part import read_part
from voxarray.cohort.plan.plan import Plan, by_size
from voxarray.cohort.plan.planning import plan_of, require_same
from voxarray.cohort.plan.previous import plan_or_archives, put_in_place
from voxarray.cohort.run.engine_choice import choose_engine
from voxarray.cohort.run.interrupts import (
    ASKED_TO_END,
    interrupt_in,
    stoppable,
    undisturbed_once_asked,
)
from voxarray.cohort.run.job import Engine, Job
from voxarray.cohort.run.left_labels import LeftLabels
from voxarray.cohort.run.lost_additions import warn_of_deletions
from voxarray.cohort.run.number_checks import is_count, require_part
from voxarray.cohort.run.overtaken import note_overtaken
from voxarray.cohort.run.plan_checks import (
    nothing_found,
    refuse_reserved,
    refuse_reserved_images,
    refused_cohort,
    require_choice,
    require_options,
    warn_of_plan,
)
from voxarray.cohort.run.progress import ProgressListener
from voxarray.cohort.run.result import CohortResult
from voxarray.cohort.run.result_counts import Tally
from voxarray.cohort.run.staging_folder import remove_staging, sweep
from voxarray.cohort.run.task import Result
from voxarray.cohort.run.unheard import note_unheard
from voxarray.cohort.run.worklist import absent_among, sorted_out
from voxarray.core.errors import FormatError, StateError, VoxarrayError
from voxarray.core.given_paths import path_texts
from voxarray.core.main_guard import require_main_guard
from voxarray.storage.remote.address import is_url
from voxarray.storage.small_files import make_folder, side_by_side
from voxarray.storage.spare_folders import folders_reused

Sources = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True, slots=True)
class ExecutionOptions:
    """How a cohort is converted.

    Attributes:
        workers: Processes on this machine; 0 converts in the current process.
        scheduler: Address of a running `dask.distributed` scheduler.
        partition: Number from 1 on, and how many: one part of a frozen plan, without a catalogue.
        max_failures: Stop after so many; None never does.
        retry: Try images again that failed for what their file says.
        overwrite: Convert all images, also those that are up to date.
        executor: Runs the conversions instead, one task per image.
    """

    workers: int = 0
    scheduler: str | None = None
    partition: tuple[int, int] | None = None
    max_failures: int | None = None
    retry: bool = False
    overwrite: bool = False
    executor: Executor | None = None

    def __post_init__(self) -> None:
        if not is_count(self.workers):
            raise FormatError(
                f"workers= must be a whole number of processes (0 for none), not {self.workers!r}",
                code="BAD_WORKERS",
            )
        if self.workers:
            require_main_guard()
        if self.partition is not None:
            require_part(self.partition)
        engines = [bool(self.workers), self.scheduler is not None, self.executor is not None]
        if sum(engines) > 1:
            raise FormatError("choose one of workers, scheduler and executor", code="TWO_ENGINES")
        if self.executor is not None and not callable(getattr(self.executor, "submit", None)):
            raise StateError(
                f"executor= is a {type(self.executor).__name__}, which has no submit(): pass a "
                "concurrent.futures.Executor, or one of submitit, loky or dask",
                code="NO_EXECUTOR",
            )


def build(
    sources: Sources,
    destination: str | os.PathLike[str],
    *,
    options: ArchiveOptions = ArchiveOptions(),
    choice: InputSelection = InputSelection(),
    run: ExecutionOptions = ExecutionOptions(),
    watcher: ProgressListener | None = None,
) -> CohortResult:
    """Make a cohort of all images in some sources, or complete an existing one.

    Args:
        sources: One or several; see `search`.
        destination: Folder of the cohort.
        options: How archives are made.
        choice: Which files or columns belong together.
        run: How to execute it, and when to stop.
        watcher: Told about progress.

    Raises:
        MissingFileError: If a source is missing, or ``partition`` is given and there is no plan.
        FormatError: If the cohort was made from other sources, or in another form
            (``OTHER_SOURCE``, ``OTHER_FORM``), or with patterns or columns, and there are none now
            (``OTHER_PATTERNS``).
        ArchiveError: If the disk refuses (``NO_SPACE``, ``IO_ERROR``), or the scheduler is gone.
    """
    watcher = LeftLabels(watcher or ProgressListener())
    folder = CohortLayout.of(destination)  # refuses a URL before sources are looked at
    census, found = None, None
    if run.partition is not None:
        plan = part_of_plan(destination, options, run.partition, choice)
        locations = locate(plan.sources, path_texts(sources), choice, options)
    else:
        census = Census()
        inputs = discover_inputs(sources, destination, choice, options, census)
        plan, put = _planned(inputs, sources, folder, options, watcher, choice, True, run.overwrite)
        if is_url(folder.root):
            _, found = side_by_side(folder.root, put, lambda: found_in(folder))
        else:
            put()
        ignore_files_without_pixels(plan.items, inputs, census)
        locations = {item.source: item.location for item in inputs}
    openers = _file_openers(locations)
    result = execute(plan, openers, destination, options, run, watcher, found=found)
    with result.hiding_no_interrupt():
        watcher.warn()
    return replace(result, census=census, labels_apart=0 if run.partition else plan.labels_apart)


def part_of_plan(
    destination: str | os.PathLike[str],
    options: ArchiveOptions,
    part: tuple[int, int],
    choice: InputSelection = InputSelection(),
) -> Plan:
    """The items of one part of the plan at the destination.

    Raises:
        MissingFileError: If there is no plan.
        FormatError: If it was made with other options, or another choice of inputs
            (``OTHER_OPTIONS``).
    """
    file = CohortLayout.of(destination).plan
    plan = read_part(file, *part)
    require_options(file, plan, options)
    require_choice(file, plan, choice)
    return plan


def discover_inputs(
    sources: Sources,
    destination: str | os.PathLike[str],
    choice: InputSelection,
    options: ArchiveOptions,
    census: Census | None = None,
) -> list[DiscoveredInput]:
    """The inputs in some sources; see `search`.

    Raises:
        MissingFileError: If there are none at all (``NOTHING_FOUND``).
        FormatError: If a source is a cohort (``IS_COHORT``).
        UnsupportedError: An image is called as no image can be (``RESERVED_NAME``).
    """
    census = Census() if census is None else census
    texts = path_texts(sources)
    for text in texts:
        if cohort := cohort_named([text]):
            raise refused_cohort(cohort, alone=len(texts) == 1)
    inputs = search(texts, CohortLayout.of(destination).root, choice, options, census)
    if not inputs:
        raise nothing_found(texts, choice, census)
    refuse_reserved_images(inputs)
    warn_of_patterns(inputs, choice, census, texts)
    return inputs


def make_plan(
    inputs: Sequence[DiscoveredInput],
    sources: Sources,
    destination: str | os.PathLike[str],
    options: ArchiveOptions,
    watcher: ProgressListener | None = None,
    choice: InputSelection = InputSelection(),
    *,
    write: bool = True,
    overwrite: bool = False,
) -> Plan:
    """Plan the conversion of inputs, and write the plan; see `plan_of`.

    Raises:
        FormatError: As `build`; or if there are archives of a pipeline, but not their plan
            (``OTHER_PIPELINE``).
        UnsupportedError: A field to keep has the name of a catalogue column (``RESERVED_NAME``).
        ArchiveExistsError: Options have changed, and something was added to archives, which
            ``overwrite`` does not replace (``CONTENT_ADDED``).
        ArchiveError: If writing fails.
    """
    folder = CohortLayout.of(destination)
    plan, put = _planned(inputs, sources, folder, options, watcher, choice, write, overwrite)
    if write:
        put()
    return plan


def _planned(
    inputs: Sequence[DiscoveredInput],
    sources: Sources,
    folder: CohortLayout,
    options: ArchiveOptions,
    watcher: ProgressListener | None,
    choice: InputSelection,
    refusing: bool,
    overwrite: bool,
) -> tuple[Plan, Callable[[], None]]:
    """The plan of `make_plan`, and what writes it."""
    refuse_reserved(options.keep_metadata)
    report = (watcher or ProgressListener()).planned
    _, (previous, there) = side_by_side(
        folder.root, lambda: refuse_cohort_among_results(folder), lambda: plan_or_archives(folder)
    )
    texts = path_texts(sources)
    selection = applied(choice, texts)
    if previous is not None:
        require_same(previous, texts, options)
        check_changed_selection(previous, selection, folder)
    plan = plan_of(inputs, texts, options, previous, report)
    plan = replace(plan, choice=choice.digest(), selection=noted(selection))
    if previous is None:  # else it has the same sources, as was checked, and so no pipeline
        refuse_other_pipelines(folder, plan, None, there)
    warn_of_plan(plan, previous, folder, options, refusing=refusing, overwrite=overwrite)

    def put() -> None:
        make_folder(folder.root)
        put_in_place(folder, plan, previous)

    return plan, put


def execute(
    plan: Plan,
    opener_of: Callable[[Item], Opener],
    destination: str | os.PathLike[str],
    options: ArchiveOptions,
    run: ExecutionOptions,
    watcher: ProgressListener,
    *,
    overlapping: bool = True,
    found: Found | None = None,
) -> CohortResult:
    """Convert the images of a plan that have no archive yet, and finalise.

    Args:
        plan: The plan, or one part of it.
        opener_of: Returns the opener of an item.
        destination: Folder of the cohort.
        options: How archives are made.
        run: How to execute it, and when to stop.
        watcher: Told about progress.
        overlapping: Whether items may be opened by several threads at once.
        found: What was there a moment ago, if that was asked for; its entries are released.

    Raises:
        ArchiveError: As `build`; what was converted stays.
    """
    folder = CohortLayout.of(destination)
    engine = choose_engine(run.workers, run.scheduler, run.executor)
    make_folder(folder.subjects)
    if not is_url(folder.root):
        make_folder(folder.staging)
        sweep(folder, plan, run)
    items = by_size(plan.items)
    if found is None and run.partition is None:
        found = found_in(folder)
    to_convert, present, permanent_failures, others = sorted_out(items, plan, folder, run, found)
    tally = Tally(present=present, failures=permanent_failures, others=others)
    if run.overwrite:
        warn_of_deletions([folder.archive(item.slug, plan.zipped) for item in to_convert])
    absent = absent_among(to_convert, plan, folder, found)
    seen = None
    if found is not None:
        seen = found.catalogue
        found.release()  # the run may take hours, and reads them again when it ends
    job = Job(to_convert, opener_of, folder.root, options, run.overwrite, overlapping, absent)
    with undisturbed_once_asked(), tally.hiding_no_interrupt(len(items)):
        with keeping(folder.subjects):
            with folders_reused(folder.staging):
                carry_out(engine, job, run, watcher, tally)
            Journal.of(folder.journal).close()
            if not is_url(folder.root):
                remove_staging(folder, plan, run)
            if run.partition is not None:
                part_failures.write(folder, run.partition, tally.failures)
            summary = None if run.partition else conclude(folder, plan.items, plan.zipped, seen)
        if summary is not None:
            if tally.interrupted_by and not run.overwrite:  # else an archive may be that of before
                note_unheard(tally, to_convert, summary, watcher)
            note_overtaken(tally, items, to_convert, summary)
    return tally.result(len(items), summary)


def carry_out(
    engine: Engine, job: Job, run: ExecutionOptions, watcher: ProgressListener, tally: Tally
) -> None:
    """Run the engine until it is done or has to stop; the tally says why it stopped."""
    if not job.items:
        return
    watcher.start(job.items)
    results = engine.run(job, watcher.begin)
    try:
        reason = _counted(results, run, watcher, tally)
    finally:
        disk_error = _ended(results)
        for result in job.late:
            tally.count(result)
            watcher.end(result)
    tally.interrupted_by = "; ".join(filter(None, (reason, disk_error)))


def _counted(
    results: Iterator[Result], run: ExecutionOptions, watcher: ProgressListener, tally: Tally
) -> str:
    """Count results until the end or a reason to stop; returns the reason."""
    has_results, handled = False, sys.exc_info()[1]
    try:
        with stoppable():
            for result in results:
                has_results = True
                tally.count(result)
                watcher.end(result)
                if result.failure is not None and result.ends_run:
                    return f"{result.failure.code}: {result.failure.message}"
                if run.max_failures is not None and tally.failed >= run.max_failures:
                    return (
                        f"--max-failures {run.max_failures} is reached; remove the cause of the "
                        "failures, or raise the limit, and run the same command again"
                    )
    except KeyboardInterrupt as interrupt:
        tally.interrupt = type(interrupt)
        return ASKED_TO_END
    except VoxarrayError as error:
        tally.interrupt = interrupt_in(error, handled)
        if tally.interrupt is not None:
            return f"{ASKED_TO_END}; {error}"
        if not has_results:
            tally.unable = error
        return str(error)
    return ""


def _ended(results: Iterator[Result]) -> str:
    """Close the generator of results, which releases its workers; returns an error of the disk."""
    try:
        results.close()  # type: ignore[attr-defined]
    except VoxarrayError as error:  # syncing the last names failed; see `synced_names`
        return str(error)
    return ""


def _file_openers(locations: Mapping[str, str]) -> Callable[[Item], Opener]:
    def opener_of(item: Item) -> Opener:
        names = [item.origin.source, *(layer.origin.source for layer in item.layers)]
        return FileOpener({name: locations.get(name, name) for name in names})

    return opener_of
