"""Predictions of a cohort's subjects as layers of the cohort's own archives."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

from voxarray.archive.source import ArchiveSource
from voxarray.archive_object import Archive, tell_cohorts
from voxarray.cohort.catalogue.absent_images import warn_of_absent
from voxarray.cohort.cohort import Cohort
from voxarray.cohort.run.build import ExecutionOptions
from voxarray.cohort.run.interrupts import Stopped, let_go_on, stoppable
from voxarray.core import settings
from voxarray.core.errors import ArchiveExistsError, StateError, VoxarrayError
from voxarray.core.exhaustion import names_exhaustion
from voxarray.core.main_guard import workers_not_started
from voxarray.core.optional import import_optional
from voxarray.core.progress import ProgressOption
from voxarray.core.shares import processes_of, share_of
from voxarray.image import LabelMap
from voxarray.inference.network_input import Scan
from voxarray.inference.prediction_transform import PREDICTION, InferenceTransform
from voxarray.source.sliced import SlicedSource
from voxarray.subject import Subject

_TOLD = 5
"""Failures that a message names."""


def add_layer(
    transform: InferenceTransform,
    subject: Subject,
    layer: str,
    progress: ProgressOption,
    *,
    may_be_there: bool = False,
) -> LabelMap:
    """As `predict_layer`, for one subject alone."""
    label_map = predict_layer(transform, subject, layer, progress, may_be_there=may_be_there)
    if may_be_there:  # and may have been added by a process that was killed before it told
        tell_cohorts([os.path.dirname(os.path.dirname(str(label_map.path)))])
    return label_map


@names_exhaustion
def predict_layer(
    transform: InferenceTransform,
    subject: Subject,
    layer: str,
    progress: ProgressOption,
    *,
    may_be_there: bool = False,
) -> LabelMap:
    """Predict a subject into the archive of the first image that the network is shown.

    Args:
        transform: What predicts.
        subject: Whose first channel is an archive.
        layer: Name of the layer.
        progress: See `infer`.
        may_be_there: Whether the same prediction, made before, is left as it is.

    Raises:
        StateError: If the image is no archive, or what is made no labels (``NO_DESTINATION``).
        ArchiveExistsError: If something else has the name (``NAME_TAKEN``).
    """
    scan = transform.inference.scan(subject)
    is_archive = isinstance(SlicedSource.of(scan.image.source).base, ArchiveSource)
    if not is_archive or scan.path is None or not transform.inference.makes_labels:
        raise StateError(
            "no destination was given. Without one, the result is added to the scan's own archive; "
            "this works only for labels, and only if the scan is an archive. Pass destination, for "
            "example labels.ome.zarr or labels.nii.gz",
            code="NO_DESTINATION",
        )
    archive = Archive(scan.path)
    if may_be_there and (existing := _made(transform, scan, archive, layer)) is not None:
        return existing
    label_map = transform.of_scan(scan)[PREDICTION]
    try:
        return archive.add_labels(layer, label_map, progress=progress)
    except ArchiveExistsError:
        # Another process that does the same may have added it meanwhile.
        if may_be_there and (existing := _made(transform, scan, archive, layer)) is not None:
            return existing
        raise


def _made(
    transform: InferenceTransform, scan: Scan, archive: Archive, layer: str
) -> LabelMap | None:
    """The layer, if the same prediction has made it; None if there is none.

    Raises:
        ArchiveExistsError: If something else has the name (``NAME_TAKEN``).
    """
    if layer not in archive.labels:
        return None
    existing = archive.labels[layer]
    steps = [step for step in existing.history if step["operation"] == "infer"]
    maker = "by a person or another program"
    if steps:
        maker = transform.inference.other_maker(steps[-1], scan)
    if not maker:
        return existing
    raise ArchiveExistsError(
        f"{scan.path} has a label map {layer!r} that was made {maker}: remove it first "
        "(voxarray remove-labels, for one archive or a whole cohort), or give another name by "
        "layer= (--layer)",
        code="NAME_TAKEN",
        path=scan.path,
    )


def add_layers(
    transform: InferenceTransform,
    cohort: Cohort,
    layer: str,
    *,
    workers: int = 0,
    scheduler: str | None = None,
    partition: tuple[int, int] | None = None,
    executor: Executor | None = None,
    progress: ProgressOption = None,
) -> Cohort:
    """Predict each subject of a cohort into its own archive; what is there already is left.

    Args:
        transform: What predicts; it travels to workers.
        cohort: Its archives get the layers.
        layer: Name of the layers.
        workers: See `infer`.
        scheduler: See `infer`.
        partition: See `infer`.
        executor: See `infer`.
        progress: Of each subject, where this process predicts it.

    Returns:
        The cohort as it is now.

    Raises:
        VoxarrayError: If subjects failed (``SOME_FAILED``); all others have their layers. If no
            worker started, the error says why (``NO_MAIN_GUARD``, ``NO_WORKERS``).
        UnsupportedError: As for cohorts with a destination.
        KeyboardInterrupt: Ctrl-C ended the run.
        SystemExit: Another signal did (exit code 75).
    """
    try:
        with stoppable():
            ends = ends_of_layers(
                transform,
                cohort,
                layer,
                workers=workers,
                scheduler=scheduler,
                partition=partition,
                executor=executor,
                progress=progress,
            )
    except Stopped as stopped:
        cause = stopped.__cause__ if isinstance(stopped.__cause__, Exception) else None
        more = "" if cause is None else f". While it ended, this failed: {cause}"
        let_go_on(Stopped, _interrupted(cohort, layer) + more, cause)
    failures = {name: error for name, error in ends.items() if error is not None}
    if failures:
        messages = "; ".join(
            f"{name}: {_message(error)}" for name, error in [*failures.items()][:_TOLD]
        )
        suffix = "; all others have it" if len(failures) < len(ends) else ""
        raise VoxarrayError(
            f"the label map {layer!r} could not be made for {len(failures)} of {len(ends)} "
            f"subjects{suffix}. Correct the causes, and make the same call again. What failed: "
            f"{messages}",
            code="SOME_FAILED",
            path=cohort.path,
        )
    fresh = Cohort(cohort.path)
    return fresh.where(fresh.table["subject"].isin(cohort.names))


def ends_of_layers(
    transform: InferenceTransform,
    cohort: Cohort,
    layer: str,
    *,
    workers: int = 0,
    scheduler: str | None = None,
    partition: tuple[int, int] | None = None,
    executor: Executor | None = None,
    progress: ProgressOption = None,
) -> dict[str, Exception | None]:
    """As `add_layers`, for whoever tells of each subject: what went wrong with it, or None."""
    # Refuses parts that are none, and two engines, as for a cohort with a destination.
    ExecutionOptions(workers, scheduler, partition, executor=executor)
    warn_of_absent(cohort.table, cohort.path)
    names = cohort.names
    part = names if partition is None else names[partition[0] - 1 :: partition[1]]
    ends: dict[str, Exception | None] = {}
    begun: list[str] = []
    try:
        with _executor(workers, scheduler, executor) as pool:
            # A task that cannot fail: if it does, no process began, and no subject is to blame.
            first_task = pool.submit(os.getpid) if workers and pool is not None else None
            for name, finished in _runs(transform, cohort, part, layer, pool, progress, begun):
                ends[name] = None
                try:
                    finished()
                except Exception as error:  # ours, of the user's transform, or of a lost worker
                    ends[name] = error
            why = first_task.exception() if first_task is not None else None
    except KeyboardInterrupt as interrupt:
        # A layer may have been published, though the catalogue does not list it yet. The same goes
        # for workers, to which the signal may have been sent, too.
        try:
            _tell_of_found(cohort, begun, layer)
        except Exception as error:  # also warnings that are errors: the script would go on
            raise interrupt from error
        raise
    if why is not None:
        raise workers_not_started(workers, why) from why
    _tell_of_found(cohort, [name for name, error in ends.items() if error is None], layer)
    return ends


def _interrupted(cohort: Cohort, layer: str) -> str:
    """How far a run came that was asked to end, if that can be read."""
    try:
        rows = Cohort(cohort.path).table
    except (VoxarrayError, OSError) as error:
        return (
            "the run was asked to end. The catalogue, which says how many subjects have the label "
            f"map {layer!r}, cannot be read ({error}). Make the same call again to go on"
        )
    wanted = rows[rows["subject"].isin(cohort.names)]
    pairs = zip(wanted["subject"], wanted["labels"], strict=True)
    done = len({subject for subject, labels in pairs if layer in labels})
    return (
        f"the run was asked to end: {done:,} of {len(cohort):,} subjects of the cohort "
        f"{'has' if done == 1 else 'have'} the label map {layer!r}; make the same call again to "
        "go on"
    )


def _tell_of_found(cohort: Cohort, names: Sequence[str], layer: str) -> None:
    """List layers that are there, though the process that added them was killed or stopped before
    the catalogue had them: subjects of the cohort would lack them.
    """
    rows = Cohort(cohort.path).table
    pairs = zip(rows["archive"], rows["labels"], strict=True)
    listed = {archive for archive, labels in pairs if layer in labels}
    archives = [part.archive for name in names for part in cohort.member(name).parts]
    # Another image of a subject may have had a layer of this name before.
    if unlisted := [archive for archive in archives if archive not in listed]:
        tell_cohorts([os.path.join(cohort.path, archive) for archive in unlisted])


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, VoxarrayError) else f"{type(error).__name__}: {error}"


def _runs(
    transform: InferenceTransform,
    cohort: Cohort,
    names: list[str],
    layer: str,
    pool: Executor | None,
    progress: ProgressOption,
    begun: list[str],
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Each subject, and what waits for its prediction or makes it.

    Whatever ends this, `begun` then names the subjects whose prediction has begun.
    """
    if pool is None:
        for name in names:
            begun.append(name)
            yield (
                name,
                lambda name=name: predict_layer(  # type: ignore[misc]
                    transform, cohort[name], layer, progress, may_be_there=True
                ),
            )
        return
    configuration = settings.configured() | share_of(processes_of(pool))
    futures: dict[Future[None], str] = {
        pool.submit(_in_worker, configuration, transform, cohort.member(name), layer): name
        for name in names
    }
    try:
        for future in as_completed(futures):
            yield futures[future], future.result
    finally:  # who is stopped waits for those that run, and for no others
        begun += [name for future, name in futures.items() if not future.cancel()]


def _in_worker(
    configuration: dict[str, Any], transform: InferenceTransform, member: Any, layer: str
) -> None:
    with settings.of_task(configuration):
        predict_layer(transform, member.subject(), layer, False, may_be_there=True)


@contextmanager
def _executor(
    workers: int, scheduler: str | None, executor: Executor | None
) -> Iterator[Executor | None]:
    if scheduler is not None:
        distributed = import_optional("distributed", "distributed")
        with distributed.Client(scheduler) as client:
            yield client.get_executor()
    elif workers:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            yield pool
    else:
        yield executor
