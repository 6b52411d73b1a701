"""Writing catalogue and report of a cohort, and finding the images that are missing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from voxarray.cohort.catalogue import manifest_entries, report_files
from voxarray.cohort.catalogue import rows as catalogue
from voxarray.cohort.catalogue.entry import Entry
from voxarray.cohort.catalogue.journal import records_of_failing
from voxarray.cohort.catalogue.namesakes import Namesakes, Places, namesakes, warn_of_namesakes
from voxarray.cohort.catalogue.pipelines import pipeline_of
from voxarray.cohort.catalogue.replaced_catalogue import replace_catalogue, version_in_bucket
from voxarray.cohort.catalogue.report_files import Missing
from voxarray.cohort.discover import bids
from voxarray.cohort.folder import CohortLayout, archive_name
from voxarray.cohort.plan.item import Failure, Item
from voxarray.cohort.plan.plan import Plan
from voxarray.core.errors import MissingFileError
from voxarray.core.version import __version__
from voxarray.storage.remote.address import is_url
from voxarray.storage.small_files import Put, side_by_side, write_if_other

if TYPE_CHECKING:
    from voxarray.storage.remote.objects import Stamp

Entries = Mapping[str, Entry | None]
"""Of archives, by file name."""

Failures = Mapping[tuple[str, str], Mapping[str, Any]]
"""Records of the journal, by slug and key of the image."""


@dataclass(frozen=True, slots=True)
class Summary:
    """How many images of a cohort are converted, and which are missing.

    Attributes:
        done: Number of images that are converted.
        missing: Images that were planned and are not converted.
        strangers: Names of archives in the folder that no cohort made, or that are damaged.
        unplanned: Names of archives whose source the plan no longer names; the catalogue still
            lists them.
        namesakes: Images and label maps of one name in two places of a subject.
    """

    done: int
    missing: tuple[Missing, ...]
    strangers: tuple[str, ...] = ()
    unplanned: tuple[str, ...] = ()
    namesakes: tuple[Namesakes, ...] = ()

    @property
    def failed(self) -> list[Missing]:
        """Those that failed."""
        return [image for image in self.missing if image.failure is not None]

    def __str__(self) -> str:
        return report_files.readable(self.done, self.missing, self.unplanned)


def finalise(destination: str | os.PathLike[str]) -> Summary:
    """Make catalogue and report of a cohort from its archives, its plan and its journals.

    Without a plan, the catalogue lists the archives that are there.

    Args:
        destination: Folder of the cohort.

    Raises:
        MissingFileError: If there is no cohort (``NO_COHORT``).
        ArchiveError: If writing fails.
    """
    folder = CohortLayout.of(destination)
    folder.require()
    try:
        plan = Plan.read(folder.plan)
    except MissingFileError:
        return conclude(folder, (), False)
    return conclude(folder, plan.items, plan.zipped)


@dataclass(slots=True)
class Found:
    """What is there when a run begins.

    Attributes:
        entries: Of all archives, by file name.
        failures: See `last_failures`.
        catalogue: Which catalogue is there; see `replace_catalogue`.
    """

    entries: Entries
    failures: Failures
    catalogue: tuple[Stamp | None]

    def release(self) -> None:
        """Drop the entries and failures, which for many archives take much memory."""
        self.entries, self.failures = {}, {}


def found_in(folder: CohortLayout) -> Found:
    """What is there now."""
    (entries, failures), version = side_by_side(
        folder.root, lambda: entries_and_failures(folder), lambda: version_in_bucket(folder)
    )
    return Found(entries, failures, (version,))


def conclude(
    folder: CohortLayout,
    items: tuple[Item, ...],
    zipped: bool,
    seen: tuple[Stamp | None] | None = None,
) -> Summary:
    """As `finalise`, for a plan in memory.

    Args:
        folder: Of the cohort.
        items: Of the plan.
        zipped: Whether archives are single files.
        seen: Which catalogue was there when the run began that ends now.
    """
    summary = replace_catalogue(
        folder,
        lambda: entries_and_failures(folder),
        lambda read, put: _written(folder, *read, items, zipped, put),
        seen,
    )
    warn_of_namesakes(summary.namesakes, summary.unplanned, folder.root)
    return summary


def _written(
    folder: CohortLayout,
    entries: Entries,
    failures: Failures,
    items: tuple[Item, ...],
    zipped: bool,
    put: Put,
) -> Summary:
    rows = [catalogue.row_of(name, entry) for name, entry in entries.items() if entry is not None]
    missing = [
        image
        for item in items
        if (image := missing_of(item, zipped, entries, failures)) is not None
    ]
    by_slug = {item.slug: item for item in items}
    stale = {archive_name(image.slug, zipped) for image in missing}
    rows = [row for row in rows if os.path.basename(row["archive"]) not in stale]
    rows += [catalogue.row_of_missing(by_slug[image.slug], image.failure) for image in missing]
    done = len(rows) - len(missing)
    unplanned = _unplanned(entries, items, zipped)
    catalogue.write(folder, rows, put)
    # Afterwards: if another process was quicker with the catalogue, its report is the right one.
    report_files.write(folder, done, missing, unplanned, put)
    _describe(folder)
    strangers = tuple(name for name, entry in entries.items() if entry is None)
    images_by_name: Places = {}
    twice = [
        namesake
        for name, entry in sorted(entries.items())
        if entry is not None and name not in stale
        for namesake in namesakes(name, entry, images_by_name)
    ]
    return Summary(done, tuple(missing), strangers, unplanned, tuple(twice))


def _unplanned(
    entries: Entries,
    items: tuple[Item, ...],
    zipped: bool,
) -> tuple[str, ...]:
    """Archives whose sources were removed, renamed or left out since the last plan.

    Archives that a pipeline made are not counted: a pipeline may add subjects to a cohort.
    """
    if not items:
        return ()
    planned = {archive_name(item.slug, zipped) for item in items}
    return tuple(
        name
        for name, entry in sorted(entries.items())
        if entry is not None and name not in planned and pipeline_of(entry.facts["facts"]) is None
    )


def missing_of(
    item: Item,
    zipped: bool,
    entries: Entries,
    failures: Failures,
) -> Missing | None:
    """Why an image has no archive; None if it has one."""
    name = archive_name(item.slug, zipped)
    entry = entries.get(name)
    if entry is not None and entry.is_of(item):
        return None
    record = failures.get((item.slug, item.key))
    if item.failure is not None or record is None:
        archive_state = "outdated" if entry is not None else "unreadable" if name in entries else ""
        return Missing(
            item.slug, item.subject, item.image, item.failure, archive_state=archive_state
        )
    failure = Failure.from_json(record["failure"])
    return Missing(item.slug, item.subject, item.image, failure, record["seconds"], record["peak"])


def entries_and_failures(folder: CohortLayout) -> tuple[Entries, Failures]:
    """Entries of all archives, by file name, and `last_failures`."""
    entries, failures = side_by_side(
        folder.root, lambda: manifest_entries.entries_of(folder), lambda: last_failures(folder)
    )
    return entries, failures


def last_failures(folder: CohortLayout) -> Failures:
    """Last journal records of the images whose last attempt failed, by slug and key."""
    failures: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records_of_failing(folder.journal):
        name = (record["slug"], record.get("key", ""))
        if record.get("failure"):
            failures[name] = record
        else:
            failures.pop(name, None)
    return failures


def _describe(folder: CohortLayout) -> None:
    """Write the ``dataset_description.json`` of a BIDS derivative, if a BIDS tree is around."""
    if is_url(folder.root):
        return
    parent = os.path.dirname(folder.root)
    while not bids.is_dataset(parent):
        if os.path.dirname(parent) == parent:
            return
        parent = os.path.dirname(parent)
    content = {
        "Name": "voxarray archives",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "voxarray", "Version": __version__}],
    }
    path = os.path.join(folder.root, bids.DESCRIPTION)
    if os.path.lexists(path) and not _is_ours(path):
        return  # the dataset was converted in place, and the file is its own
    write_if_other(path, json.dumps(content, indent=1).encode())


def _is_ours(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return bool(json.load(file)["GeneratedBy"][0]["Name"] == "voxarray")
    except (OSError, ValueError, LookupError, TypeError):
        return False
