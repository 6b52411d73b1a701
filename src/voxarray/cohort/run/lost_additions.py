"""Label maps and notes that were added to an archive, and would be lost if it were made again."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from voxarray.archive.added_content import added_labels, first_manifest
from voxarray.archive.locate import open_store
from voxarray.archive.manifest import Manifest
from voxarray.cohort.catalogue.entry import Entry
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.plan import Plan
from voxarray.core.caller_warnings import warn_by_code
from voxarray.core.error_messages import FOR_ALL
from voxarray.core.errors import ArchiveExistsError, VoxarrayError

_TOLD = 3
_NAMED = 10
_READERS = 4


def is_refused(archive: str) -> bool:
    """Whether an archive may not be made again; see `refuse_to_lose`."""
    try:
        refuse_to_lose(archive)
    except ArchiveExistsError:
        return True
    return False


def warn_of_additions(
    plan: Plan, folder: CohortLayout, entries: Mapping[str, Entry | None]
) -> None:
    """Warn of archives that a plan would make again, which conversion will refuse.

    Args:
        plan: The plan.
        folder: Of the cohort.
        entries: Of its archives, by file name.

    Warns:
        VoxarrayWarning: ``CONTENT_ADDED``.
    """
    paths = {item.key: folder.archive(item.slug, plan.zipped) for item in plan.items}
    existing = {key: entries.get(os.path.basename(path)) for key, path in paths.items()}
    changed = [paths[key] for key, entry in existing.items() if entry and not entry.has_key(key)]
    names = [os.path.basename(path) for path in changed if is_refused(path)]
    if names:
        more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
        warn_by_code(
            "CONTENT_ADDED",
            "label maps or notes were added to archives that this plan would replace: "
            f"{', '.join(names[:_TOLD])}{more}. Convert will not replace these archives, and "
            "their images will fail, unless it finds that only the times of the source files "
            "changed. Save elsewhere what was added, and remove it from the archives (voxarray "
            "remove-labels); or pass --overwrite to convert, which deletes the additions, "
            f"{FOR_ALL}",
        )


def warn_of_deletions(archives: Sequence[str]) -> None:
    """Warn of what was added to archives that are about to be overwritten.

    Args:
        archives: Their paths; there need not be anything yet. A manifest of each is read.

    Warns:
        VoxarrayWarning: ``ADDITIONS_DELETED``.
    """
    with ThreadPoolExecutor(_READERS, "voxarray-additions") as readers:
        found = list(readers.map(additions, archives))
    counts = Counter(name for names in found for name in names)
    if not counts:
        return
    told = [f"{name} of {_archives(count)}" for name, count in counts.most_common(_NAMED)]
    more = f" and {len(counts) - _NAMED} more" if len(counts) > _NAMED else ""
    warn_by_code(
        "ADDITIONS_DELETED",
        f"overwriting makes {_archives(sum(map(bool, found)))} again without what was added: "
        f"{', '.join(told)}{more}. To keep what was added, stop now, and save it elsewhere "
        "(LabelMap.save), or run without overwriting; to make one damaged archive again, delete "
        "only that archive, and run without overwriting",
    )


def _archives(count: int) -> str:
    return f"{count:,} archive{'' if count == 1 else 's'}"


def additions(archive: str) -> list[str]:
    """What was added to an archive, each in words; nothing of one that cannot be read."""
    try:
        store = open_store(archive)
        manifest = Manifest.read(store)
    except (VoxarrayError, OSError):
        return []
    if not manifest.generation:
        return []
    added = [f"the label map {name!r}" for name in added_labels(first_manifest(store), manifest)]
    return added + [f"the note {name!r}" for name in sorted(manifest.metadata)]


def refuse_to_lose(archive: str) -> None:
    """Refuse to make an archive again to which somebody has added label maps or notes.

    The additions may be hours of work, and are not in the source.

    Args:
        archive: The archive to replace. A damaged one may be replaced, since it cannot be read.

    Raises:
        ArchiveExistsError: ``CONTENT_ADDED``.
    """
    added = additions(archive)
    if added:
        raise ArchiveExistsError(
            f"{archive} was made from another source or with other options than those of this run. "
            f"Making it again would delete what was added to it: {', '.join(added)}; save this "
            "elsewhere (LabelMap.save), remove it from the archive (voxarray remove-labels, or "
            "vx.Archive for notes) and convert again, or pass overwrite=True (--overwrite), "
            f"which deletes the additions, {FOR_ALL}. Until then the archive stays as it is, but "
            "is not in the catalogue",
            code="CONTENT_ADDED",
            path=archive,
        )
