"""Label maps that an archive was made with, and that a run finds no more."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

from voxarray.cohort.catalogue import manifest_entries
from voxarray.cohort.catalogue.entry import Entry, entry_of
from voxarray.cohort.folder import CohortLayout, is_archive_there
from voxarray.cohort.plan.archive_names import slug
from voxarray.cohort.plan.item import Item
from voxarray.cohort.plan.plan import Plan
from voxarray.core.caller_warnings import warn_by_code
from voxarray.core.error_messages import FOR_ALL
from voxarray.core.errors import ArchiveExistsError, VoxarrayError
from voxarray.storage.file_identity import FileIdentity
from voxarray.storage.remote.address import is_url

_TOLD = 3


def warn_of_absent_labels(plan: Plan, folder: CohortLayout) -> None:
    """Say at once which archives a plan wants made again without label maps that they hold.

    Conversion will refuse to. Label maps that the plan makes archives of their own are not lost.

    Warns:
        VoxarrayWarning: ``LABELS_ABSENT``.
    """
    entries = manifest_entries.entries_of(folder)
    planned = {item.slug for item in plan.items if item.failure is None}
    homes = _homes(plan)
    losses = []
    for item in plan.items:
        name = os.path.basename(folder.archive(item.slug, plan.zipped))
        entry = entries.get(name)
        if entry is None or item.failure is not None:
            continue
        missing = gone_labels(entry, item, folder, zipped=plan.zipped)
        missing = [
            label
            for label in missing
            if slug(item.subject, label) not in planned and not _others(label, item, homes)
        ]
        if missing:
            losses.append(f"{', '.join(map(repr, missing))} of {name}")
    if losses:
        more = f" and {len(losses) - _TOLD} more" if len(losses) > _TOLD else ""
        warn_by_code(
            "LABELS_ABSENT",
            "some archives hold label maps that no source has now, and this plan would replace "
            "the archives; convert will refuse, and leave them as they are: "
            f"{'; '.join(losses[:_TOLD])}{more}. Bring the files or the pattern back, remove the "
            "label maps (voxarray remove-labels), or pass --overwrite to convert, which deletes "
            "them, and makes ALL archives of the cohort again, without what was added to any of "
            "them",
        )


def refuse_to_leave_out(archive: str, item: Item, folder: CohortLayout, *, zipped: bool) -> None:
    """Refuse to make an archive again without label maps that it was made with.

    Their files were removed, cannot be read, or are left out by other patterns than before: the
    archive may hold all that is left of them. Where one has become an archive of its own, since it
    lies on another grid now, nothing is lost.

    Args:
        archive: That is to be replaced. A damaged one may be: nobody can read what it holds.
        item: What it is to be made of.
        folder: Of the cohort.
        zipped: Whether archives of the cohort are files.

    Raises:
        ArchiveExistsError: ``LABELS_ABSENT``.
    """
    entry = entry_of(archive)
    gone = [] if entry is None else gone_labels(entry, item, folder, zipped=zipped)
    gone = [label for label in gone if not _is_in_another(label, item, folder, zipped=zipped)]
    if gone:
        several = "s" if len(gone) > 1 else ""
        them = "them" if several else "it"
        raise ArchiveExistsError(
            f"{archive} was not made again, since that would delete its label map{several} "
            f"{', '.join(map(repr, gone))}, perhaps the last copy. This run found no readable file "
            f"for {them} (removed, renamed, damaged, or matched by no pattern). Bring the "
            f"file{several} or the pattern back, remove the label map{several} (voxarray "
            f"remove-labels), or pass overwrite=True (--overwrite), which deletes {them}, "
            f"{FOR_ALL}. If the label map{several} now belong{'' if several else 's'} to another "
            "image of this run, run the command again",
            code="LABELS_ABSENT",
            path=archive,
        )


@dataclass(frozen=True, slots=True)
class _Home:
    """An archive that a plan gives label maps, with what tells whether it was made so."""

    slug: str
    key: str
    labels: tuple[str, ...]


_Homes = dict[str, list[_Home]]
"""Archives with label maps, by subject."""


def _homes(plan: Plan) -> _Homes:
    homes: _Homes = {}
    for item in plan.items:
        if item.layers and item.failure is None:
            home = _Home(item.slug, item.key, tuple(layer.name for layer in item.layers))
            homes.setdefault(item.subject, []).append(home)
    return homes


def _others(label: str, item: Item, homes: _Homes) -> list[_Home]:
    """Archives of other images of the subject in which a plan puts a label map."""
    of_subject = homes.get(item.subject, [])
    return [home for home in of_subject if home.slug != item.slug and label in home.labels]


def _is_in_another(label: str, item: Item, folder: CohortLayout, *, zipped: bool) -> bool:
    """Whether the archive of another image of the subject holds a label map, as it was planned."""
    try:
        homes = _planned_homes(folder.plan)
    except (VoxarrayError, OSError):
        return False
    for home in _others(label, item, homes):
        entry = entry_of(folder.archive(home.slug, zipped))
        if (
            entry is not None
            and entry.has_key(home.key)
            and tuple(entry.facts["labels"]) == home.labels
            and label in entry.labels
        ):
            return True
    return False


def _planned_homes(path: str) -> _Homes:
    """What the plan at a path says. Thousands of archives may ask: it is read once."""
    if is_url(path):  # whether an object has changed is known no sooner than it is read
        return _homes(Plan.read(path))
    return _read_homes(FileIdentity.of(path))


@lru_cache(maxsize=1)
def _read_homes(plan: FileIdentity) -> _Homes:
    return _homes(Plan.read(plan.path))


def gone_labels(entry: Entry, item: Item, folder: CohortLayout, *, zipped: bool) -> list[str]:
    """Label maps that an archive was made with and holds, and a new one would lack.

    Args:
        entry: Of the archive.
        item: What it is to be made of.
        folder: Of the cohort.
        zipped: Whether archives of the cohort are files.
    """
    if entry.has_key(item.key):  # of the same files, under other names
        return []
    planned = {layer.name for layer in item.layers}
    return [
        name
        for name in entry.labels
        if name in entry.facts["labels"]
        and name not in planned
        and not is_archive_there(folder.archive(slug(item.subject, name), zipped))
    ]
