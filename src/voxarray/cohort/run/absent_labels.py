"""Label maps that an archive was made with, and that a run finds no more."""

from __future__ import annotations

from voxarray.cohort.catalogue.entry import entry_of
from voxarray.cohort.folder import CohortLayout, is_archive_there
from voxarray.cohort.plan.item import Item
from voxarray.cohort.plan.names import slug
from voxarray.core.errors import ArchiveExistsError


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
    if entry is None or entry.key == item.key:  # of the same files, under other names
        return
    kept = {layer.name for layer in item.layers}
    gone = [
        name
        for name in entry.labels
        if name in entry.facts["labels"]
        and name not in kept
        and not is_archive_there(folder.archive(slug(item.subject, name), zipped))
    ]
    if gone:
        raise ArchiveExistsError(
            f"{archive} holds the label map {', '.join(map(repr, gone))}, and the sources of this "
            "run hold none of that name for this image that can be read: its file was removed, "
            "renamed or damaged, or no pattern takes it. To make the archive again would delete "
            "what may be the last copy: bring the file or the pattern back, or remove the label "
            "map (voxarray remove-labels), or pass overwrite=True (--overwrite)",
            code="LABELS_ABSENT",
            path=archive,
        )
