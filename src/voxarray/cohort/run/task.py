"""Converting one image: the task that every engine runs, in this process or in a worker."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from voxarray.archive.convert import convert
from voxarray.archive.partial_writes import PartialWrite
from voxarray.archive.staging import hidden_folders
from voxarray.cohort.catalogue import kept_manifests
from voxarray.cohort.catalogue.entry import entry_of
from voxarray.cohort.catalogue.journal import BEGUN, Journal
from voxarray.cohort.catalogue.kept_manifests import Kept
from voxarray.cohort.folder import CohortLayout, is_archive_there
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.plan.failures import FATAL, UNEXPECTED, failure_of, redact_paths
from voxarray.cohort.plan.item import Failure, Item
from voxarray.cohort.plan.neighbour_files import with_neighbours
from voxarray.cohort.plan.opened_inputs import FileOpener, Opener
from voxarray.cohort.run.absent_labels import refuse_to_leave_out
from voxarray.cohort.run.captured_warnings import capture_warnings
from voxarray.cohort.run.lost_additions import refuse_to_lose
from voxarray.cohort.run.prepared import Prepared, prepare
from voxarray.cohort.run.resource_usage import metered
from voxarray.cohort.run.throttle import HERE
from voxarray.cohort.run.touched import renewed
from voxarray.core.errors import ArchiveExistsError, VoxarrayError
from voxarray.core.progress import Progress
from voxarray.core.sent_records import SentRecord
from voxarray.source.dropped_blocks import dropped_afterwards
from voxarray.storage.folder_lock import Ownership, remove_if_abandoned
from voxarray.storage.remote.address import is_url
from voxarray.storage.synced_names import sync_later

Status = Literal["converted", "present", "busy", "failed"]


@dataclass(frozen=True, slots=True)
class Result(SentRecord):
    """The result of an image.

    Attributes:
        slug: Name of its archive.
        status: ``"present"`` if it was up to date, ``"busy"`` if another process is converting it.
        key: Of the item.
        failure: Why it failed; of a converted image, why nothing more can be written.
        seconds: Wall time.
        peak: Bytes of memory at the peak, above those before, including images that were converted
            at the same time; None if that is unknown.
        voxel_bytes: Bytes of voxels that were read.
        remarks: Warnings; the journal has this name for them.
    """

    slug: str
    status: Status
    key: str
    failure: Failure | None = None
    seconds: float = 0.0
    peak: int | None = None
    voxel_bytes: int = 0
    remarks: tuple[str, ...] = ()

    @property
    def ends_run(self) -> bool:
        """Whether nothing more can be written: the images that follow would fail, too."""
        if self.failure is None:
            return False
        return self.failure.code in FATAL or self.status == "converted"

    def record(self) -> dict[str, Any]:
        """The record for the journal."""
        content = {name: getattr(self, name) for name in self.__slots__}
        return {**content, "failure": self.failure and self.failure.to_json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(SentRecord):
    """One image to convert, with all that this needs; it can be sent to a worker.

    Attributes:
        item: Of the plan.
        opener: Opens its inputs.
        root: Folder of the cohort.
        options: Of the cohort.
        overwrite: Convert it also if its archive is up to date.
        ignore_active_worker: Convert it also if another process seems to be converting it.
        parts: All parts of the image, if they were written by other tasks; one may have failed.
        prepared: The image, if it is open already.
        exists: Whether its archive is there, of whatever it was made, or why nobody could say so;
            None if nobody has asked. Of one that was not there when the run began, nobody asks
            again: if another process has made it meanwhile, the store says so before anything is
            put.
    """

    item: Item
    opener: Opener
    root: str
    options: ArchiveOptions
    overwrite: bool = False
    ignore_active_worker: bool = True
    parts: Sequence[PartialWrite | Failure] = ()
    prepared: Prepared | None = None
    exists: bool | VoxarrayError | None = None

    @property
    def archive(self) -> str:
        """Path of its archive."""
        return CohortLayout(self.root).archive(self.item.slug, self.options.zipped)

    def run(self, progress: Progress | None = None) -> Result:
        """Convert it; see `convert_item`."""
        return convert_item(self, progress)


def convert_item(task: Task, progress: Progress | None = None) -> Result:
    """Convert one image of a plan, unless it is up to date; the journal gets the result.

    Args:
        task: What to convert.
        progress: Called with the bytes of voxels done and in all.
    """
    item, places = task.item, task.opener.places
    folder = CohortLayout(task.root)
    before = task.prepared
    with metered() as cost, capture_warnings() as remarks:
        status, failure, trace = _attempt(task, folder, progress)
    heard = remarks if before is None else [*before.remarks, *remarks]
    seconds = cost.seconds + (0.0 if before is None else before.seconds)
    result = Result(
        item.slug,
        status,
        item.key,
        failure,
        round(seconds, 4),
        cost.peak,
        item.size if status == "converted" else 0,
        tuple(redact_paths(text, places) for text in dict.fromkeys(heard)),
    )
    if status in ("converted", "failed"):
        result = noted_down(result, folder, trace)
    return result


def convert_throttled(task: Task, begin: Callable[[], Progress | None] = lambda: None) -> Result:
    """Convert one image beside others in this process, as soon as the memory budget allows it.

    Args:
        task: What to convert.
        begin: Called when it starts; returns the function to call with the bytes done.
    """
    if is_url(task.root) and task.exists is None:
        # Before its turn, for which another image could be encoded instead of waiting for a store.
        task = replace(task, exists=_asked(task))
    with HERE.acquire(peak_of(task.item)) as encoding_done:
        if is_url(task.root) and any(map(is_url, task.opener.places)):
            encoding_done()  # it waits for the store that it reads, and others may be encoded then
        report = begin()

        def progress(done: int, total: int) -> None:
            if report is not None:
                report(done, total)
            if done >= total:
                encoding_done()

        return task.run(progress)


def peak_of(item: Item) -> int | None:
    """Bytes that converting it needs at the peak; None if that is unknown."""
    return item.header.peak if item.header else None


def _attempt(
    task: Task, folder: CohortLayout, progress: Progress | None
) -> tuple[Status, Failure | None, str]:
    item, opener, options = task.item, task.opener, task.options
    archive = task.archive
    try:
        exists = _asked(task) if task.exists is None else task.exists
        if isinstance(exists, VoxarrayError):
            raise exists
        # Compared by its key: made from another input or with other options, it is made again.
        is_done = exists and not task.overwrite and is_made(archive, item)
    except VoxarrayError as error:  # the store does not answer
        return "failed", failure_of(error, item.origin.source, opener.places), ""
    if is_done:
        sync_later(folder.subjects)  # another process may have made it just now, not synced yet
        return "present", None, ""
    # Only to save work: if two processes make the same archive, one of the two is kept.
    if not task.ignore_active_worker and _is_under_way(folder.staging, os.path.basename(archive)):
        return "busy", None, ""
    lost = next((part for part in task.parts if isinstance(part, Failure)), None)
    if lost is not None:
        return "failed", lost, ""
    confirm = partial(_confirm, archive, task, folder) if exists and not task.overwrite else None
    try:
        # Now, and again before publishing, since a conversion may take minutes.
        if confirm is not None and _stays(archive, task, confirm):
            sync_later(folder.subjects)
            return "present", None, ""
        Journal.of(folder.journal).note({"slug": item.slug, "status": BEGUN, "key": item.key})
        prepared = task.prepared or prepare(opener, item)
        opened = prepared.opened
        sources = [opened.source, *(layer.source for layer in opened.layers.values())]
        # The block cache is cleared of this scan, to have room for the next.
        with dropped_afterwards(sources):
            made = convert(
                opened.source,
                archive,
                kind=item.kind,
                table=opened.table,
                labels=opened.layers,
                options=options.of_archive(
                    None if is_url(folder.root) else folder.staging, overwrite=exists
                ),
                progress=progress,
                facts=prepared.facts,
                extremes=True,
                parts=[part for part in task.parts if isinstance(part, PartialWrite)],
                confirm=confirm,
            )
        if made.manifest is not None:
            kept_manifests.keep(archive, Kept(*made.manifest, made.files))
    except ArchiveExistsError as error:
        # Another process has made it meanwhile. That is no failure, unless it is about an archive
        # that was to be overwritten, and to which somebody has added content. If it was made of
        # something else, what was known at the beginning of the run is outdated.
        is_refused = task.overwrite and error.code == "CONTENT_ADDED"
        try:
            is_present = not is_refused and is_made(archive, item)
        except VoxarrayError as silence:  # the store does not answer any more
            return "failed", failure_of(silence, item.origin.source, opener.places), ""
        if is_present:
            sync_later(folder.subjects)
            return "present", None, ""
        if task.exists is False and not is_refused:
            return _attempt(replace(task, exists=None), folder, progress)
        return "failed", failure_of(error, item.origin.source, opener.places), ""
    except Exception as error:
        failure = failure_of(error, item.origin.source, opener.places)
        series = item.origin.series is not None
        failure = with_neighbours(failure, error, opener.places, of_series=series)
        # Only the frames: the message of a foreign error may quote private text of a header.
        frames = "".join(traceback.format_tb(error.__traceback__))
        return "failed", failure, frames if failure.code == UNEXPECTED else ""
    return "converted", None, ""


def _asked(task: Task) -> bool | VoxarrayError:
    """Whether the archive of a task is there; the error if the store does not answer."""
    try:
        return is_archive_there(task.archive)
    except VoxarrayError as error:
        return error


def _confirm(archive: str, task: Task, folder: CohortLayout) -> None:
    """Refuse to replace an archive that holds content which the new one would lack."""
    refuse_to_lose(archive)
    # Not for mapped cohorts: a label map that their source lacks was removed on purpose.
    if isinstance(task.opener, FileOpener):
        refuse_to_leave_out(archive, task.item, folder, zipped=task.options.zipped)


def _stays(archive: str, task: Task, confirm: Callable[[], None]) -> bool:
    """Whether an archive that may not be replaced need not be, either: see `renewed`.

    Others may be replaced; what of them is up to date after all is made again, and nothing is lost.

    Raises:
        ArchiveExistsError: It may not be replaced, and should be.
        VoxarrayError, OSError: As `renewed`.
    """
    try:
        confirm()
    except ArchiveExistsError as error:
        if error.code == "CONTENT_ADDED" and renewed(archive, task.item, task.opener):
            return True
        raise
    return False


def is_made(archive: str, item: Item) -> bool:
    """Whether an archive is complete and was made from this item."""
    entry = entry_of(archive)
    return entry is not None and entry.is_of(item)


def _is_under_way(staging: str, name: str) -> bool:
    """Whether another process is building this archive.

    Leftovers of processes that died are removed. In a bucket this is unknown, so False.
    """
    if is_url(staging):
        return False
    hidden_paths = [os.path.join(staging, hidden) for hidden in hidden_folders(staging, name)]
    return any(_is_somebodys(folder) for folder in hidden_paths)


def _is_somebodys(folder: str) -> bool:
    try:
        return remove_if_abandoned(folder) is not Ownership.ABANDONED
    except OSError:  # another process cleans up too
        return False


def noted_down(result: Result, folder: CohortLayout, trace: str = "") -> Result:
    """Write a result into the journal.

    If the disk has no room for the line, the failure to write it becomes the result; that of an
    image that is converted says so besides, since its archive is there.
    """
    record = result.record() | ({"trace": trace} if trace else {})
    try:
        Journal.of(folder.journal).append(record)
    except OSError as error:
        failure = failure_of(error, result.slug, {folder.root: "the archive"})
        if result.status == "converted":
            return replace(result, failure=failure)
        return Result(result.slug, "failed", result.key, failure, result.seconds, result.peak)
    return result
