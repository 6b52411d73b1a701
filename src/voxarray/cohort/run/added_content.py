"""What was added to an archive after it was made, and would go with it."""

from __future__ import annotations

from contextlib import suppress

from voxarray.archive.added_content import added_labels
from voxarray.archive.generations import HISTORY
from voxarray.archive.locate import open_store
from voxarray.archive.manifest import Manifest
from voxarray.core.errors import ArchiveExistsError, VoxarrayError
from voxarray.storage.store import Store


def refuse_to_lose(archive: str) -> None:
    """Refuse to make an archive again to which somebody has added label maps or notes.

    They may be hours of work, and are not in the source that it is made from.

    Args:
        archive: That is to be replaced. A damaged one may be: nobody can read what it holds.

    Raises:
        ArchiveExistsError: ``CONTENT_ADDED``.
    """
    try:
        store = open_store(archive)
        now = Manifest.read(store)
    except (VoxarrayError, OSError):
        return
    if not now.generation:
        return
    added = [f"the label map {name!r}" for name in added_labels(_first(store), now)]
    added += [f"the note {name!r}" for name in sorted(now.metadata)]
    if added:
        raise ArchiveExistsError(
            f"{archive} was made from another source or with other options than those of this run. "
            f"To make it again would delete what was added to it: {', '.join(added)}; save this "
            "elsewhere and remove it from the archive, or pass overwrite=True (--overwrite)",
            code="CONTENT_ADDED",
            path=archive,
        )


def _first(store: Store) -> Manifest | None:
    """The manifest that an archive had when it was made; None if it is gone."""
    with suppress(VoxarrayError, OSError):
        return Manifest.parse(store.read(f"{HISTORY}/0.json"), f"{store.path}/{HISTORY}/0.json")
    return None
