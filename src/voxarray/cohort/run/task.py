"""Converting one image: what every engine runs, here or in a worker, with nothing shared."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from voxarray.archive.convert import convert
from voxarray.archive.partial_writes import PartialWrite
from voxarray.archive.staging import hidden_folders
from voxarray.cohort.catalogue.entry import entry_of, facts_of
from voxarray.cohort.catalogue.journal import BEGUN, Journal
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.plan.failures import UNEXPECTED, failure_of, redact_paths
from voxarray.cohort.plan.item import Failure, Item
from voxarray.cohort.plan.opening import Opener
from voxarray.cohort.run.captured_warnings import capture_warnings
from voxarray.cohort.run.resource_usage import metered
from voxarray.cohort.run.throttle import HERE
from voxarray.core.errors import ArchiveExistsError
from voxarray.core.progress import Progress
from voxarray.source.kept_blocks import dropped_afterwards
from voxarray.storage.folder_lock import Ownership, ownership

Status = Literal["converted", "present", "busy", "failed"]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an image.

    Attributes:
        slug: Name of its archive.
        status: ``"present"`` if it was there already, ``"busy"`` if somebody else is at it.
        key: Of the item.
        failure: Why it failed.
        seconds: Wall time.
        peak: Bytes of memory above what the process used before, at the peak, those of images that
            were converted meanwhile included; None where nobody knows.
        voxel_bytes: Of what was read.
        remarks: Warnings.
    """

    slug: str
    status: Status
    key: str
    failure: Failure | None = None
    seconds: float = 0.0
    peak: int | None = None
    voxel_bytes: int = 0
    remarks: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """As the journal has it."""
        return asdict(self)


def convert_item(
    item: Item,
    opener: Opener,
    root: str,
    options: ArchiveOptions,
    *,
    again: bool = False,
    insist: bool = True,
    progress: Progress | None = None,
    parts: Sequence[PartialWrite | Failure] = (),
) -> Result:
    """Convert one image of a plan, unless its archive is there; note in the journal what happened.

    Args:
        item: Of the plan.
        opener: Opens what it is made from.
        root: Folder of the cohort.
        options: Of the cohort.
        again: Convert it also if the archive is there.
        insist: Convert it also if another process seems to be at it.
        progress: Called with the bytes of voxels done and in all.
        parts: All parts of the image, if others have written them; one may have failed.
    """
    folder = CohortLayout.of(root)
    with metered() as cost, capture_warnings() as remarks:
        status, failure, trace = _attempt(
            item, opener, folder, options, again, insist, progress, parts
        )
    texts = tuple(redact_paths(text, opener.places) for text in dict.fromkeys(remarks))
    result = Result(
        item.slug,
        status,
        item.key,
        failure,
        round(cost.seconds, 4),
        cost.peak,
        item.size if status == "converted" else 0,
        texts,
    )
    if status in ("converted", "failed"):
        result = noted_down(result, folder, trace)
    return result


def convert_throttled(
    item: Item,
    opener: Opener,
    root: str,
    options: ArchiveOptions,
    *,
    again: bool = False,
    insist: bool = True,
    begin: Callable[[], Progress | None] = lambda: None,
    parts: Sequence[PartialWrite | Failure] = (),
) -> Result:
    """As `convert_item`, beside others in this process, when it has room for this one.

    Args:
        item: Of the plan.
        opener: Opens what it is made from.
        root: Folder of the cohort.
        options: Of the cohort.
        again: As there.
        insist: As there.
        begin: Called when it has, and gives what to call with the bytes done.
        parts: As there.
    """
    with HERE.taken(peak_of(item)) as settles:
        told = begin()

        def progress(done: int, total: int) -> None:
            if told is not None:
                told(done, total)
            if done >= total:
                settles()

        return convert_item(
            *(item, opener, root, options),
            again=again,
            insist=insist,
            progress=progress,
            parts=parts,
        )


def peak_of(item: Item) -> int | None:
    """Bytes that converting it needs at the peak; None if nobody could tell."""
    return item.header.peak if item.header else None


def _attempt(
    item: Item,
    opener: Opener,
    folder: CohortLayout,
    options: ArchiveOptions,
    again: bool,
    insist: bool,
    progress: Progress | None,
    parts: Sequence[PartialWrite | Failure],
) -> tuple[Status, Failure | None, str]:
    archive = folder.archive(item.slug, options.zipped)
    exists = os.path.lexists(archive)
    if exists and not again and is_made(archive, item):
        return "present", None, ""
    if not insist and _is_under_way(folder.staging, os.path.basename(archive)):
        return "busy", None, ""
    lost = next((one for one in parts if isinstance(one, Failure)), None)
    if lost is not None:
        return "failed", lost, ""
    try:
        Journal.of(folder.journal).note({"slug": item.slug, "status": BEGUN, "key": item.key})
        opened = opener.open(item)
        sources = [opened.source, *(layer.source for layer in opened.layers.values())]
        with dropped_afterwards(sources):
            convert(
                opened.source,
                archive,
                kind=item.kind,
                table=opened.table,
                labels=opened.layers,
                options=options.of_archive(folder.staging, overwrite=exists),
                progress=progress,
                facts=facts_of(item, opened),
                extremes=True,
                parts=[one for one in parts if isinstance(one, PartialWrite)],
            )
    except ArchiveExistsError as error:
        if is_made(archive, item):  # by another process, while this one was at it
            return "present", None, ""
        return "failed", failure_of(error, item.origin.source, opener.places), ""
    except Exception as error:
        failure = failure_of(error, item.origin.source, opener.places)
        # Frames say where, never what: the text of an error of others may quote a header.
        frames = "".join(traceback.format_tb(error.__traceback__))
        return "failed", failure, frames if failure.code == UNEXPECTED else ""
    return "converted", None, ""


def is_made(archive: str, item: Item) -> bool:
    """Whether an archive is whole and was made of this very item."""
    entry = entry_of(archive)
    return entry is not None and entry.key == item.key


def _is_under_way(staging: str, name: str) -> bool:
    """Whether somebody is building this archive; only to save work, for it does no harm."""
    return any(
        ownership(os.path.join(staging, found)) is not Ownership.ABANDONED
        for found in hidden_folders(staging, name)
    )


def noted_down(result: Result, folder: CohortLayout, trace: str = "") -> Result:
    """Write a result into the journal.

    A disk that has no room for a line has none for the rest either: then that is the result.
    """
    record = result.record() | ({"trace": trace} if trace else {})
    try:
        Journal.of(folder.journal).append(record)
    except OSError as error:
        failure = failure_of(error, result.slug, {folder.root: "the archive"})
        return Result(result.slug, "failed", result.key, failure, result.seconds, result.peak)
    return result
