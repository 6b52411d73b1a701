"""What was added to an archive after it was made, and would go with it."""

from __future__ import annotations

from contextlib import suppress

from voxarray.archive.generations import HISTORY
from voxarray.archive.layer_names import FOLDER, names_in
from voxarray.archive.locate import open_store
from voxarray.archive.manifest import FileEntry, Manifest
from voxarray.archive.roots import root_of
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
    added = [f"the label map {name!r}" for name in _added_labels(store, now)]
    added += [f"the note {name!r}" for name in sorted(now.metadata)]
    if added:
        raise ArchiveExistsError(
            f"{archive} was made from another source or with other options than those of this run. "
            f"To make it again would delete what was added to it: {', '.join(added)}; save this "
            "elsewhere and remove it from the archive, or pass overwrite=True (--overwrite)",
            code="CONTENT_ADDED",
            path=archive,
        )


def _added_labels(store: Store, now: Manifest) -> list[str]:
    """Label maps that the archive did not have, or not with these bytes, when it was made."""
    first: Manifest | None = None
    with suppress(VoxarrayError, OSError):  # without it, any label map may have been added
        first = Manifest.parse(store.read(f"{HISTORY}/0.json"), f"{store.path}/{HISTORY}/0.json")
    return [
        name
        for name in names_in(now.files, root_of(now.files))
        if first is None or _files(now, name) != _files(first, name)
    ]


def _files(manifest: Manifest, label: str) -> dict[str, FileEntry]:
    start = f"{root_of(manifest.files)}{FOLDER}/{label}/"
    return {key: entry for key, entry in manifest.files.items() if key.startswith(start)}
