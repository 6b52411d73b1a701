"""Label maps and notes that were added to an archive after it was made, or taken from it."""

from __future__ import annotations

from contextlib import suppress

from voxarray.archive.digests import digest_of
from voxarray.archive.generations import REPLACED
from voxarray.archive.layer_names import FOLDER, names_in
from voxarray.archive.locate import open_store
from voxarray.archive.manifest import FileEntry, Manifest
from voxarray.archive.root_prefix import root_of
from voxarray.core.errors import ArchiveExistsError, VoxarrayError
from voxarray.storage.store import Store


def manifest_at(path: str) -> Manifest | None:
    """The manifest of the archive at a path; None if there is none, or it is damaged."""
    try:
        return Manifest.read(open_store(path))
    except (VoxarrayError, OSError):
        return None


def first_manifest(store: Store) -> Manifest | None:
    """The manifest that an archive had when it was made; None if it is gone."""
    with suppress(VoxarrayError, OSError):
        return Manifest.parse(store.read(f"{REPLACED}/0.json"), f"{store.path}/{REPLACED}/0.json")
    return None


def changed_labels(path: str) -> dict[str, str | None]:
    """Label maps that an archive did not have, or not with these bytes, when it was made.

    Args:
        path: Of the archive.

    Returns:
        Digests of their files, by name; None for those that were removed.

    Raises:
        VoxarrayError: The archive cannot be read.
    """
    store = open_store(path)
    current = Manifest.read(store)
    if not current.generation:
        return {}
    first = first_manifest(store)
    names = set[str]() if first is None else {*names_in(first.files, root_of(first.files))}
    removed = names - {*names_in(current.files, root_of(current.files))}
    digests = {name: _digest(current, name) for name in added_labels(first, current)}
    return {**digests, **dict.fromkeys(removed)}


def added_labels(earlier: Manifest | None, current: Manifest) -> list[str]:
    """Label maps that an archive did not have, or not with these bytes, in an earlier generation.

    Args:
        earlier: The earlier manifest; None if it is unknown: then any label map counts as added.
        current: The manifest that it has.
    """
    return [
        name
        for name in names_in(current.files, root_of(current.files))
        if earlier is None or _files(current, name) != _files(earlier, name)
    ]


def refuse_additions(path: str, earlier: Manifest | None, current: Manifest | None) -> None:
    """Refuse to replace an archive to which somebody has added something since it was looked at.

    The user who asked to replace it cannot have known of the addition.

    Args:
        path: The archive.
        earlier: Its manifest when the new one was begun; None if there was none.
        current: The manifest that is there.

    Raises:
        ArchiveExistsError: ``CONTENT_ADDED``.
    """
    if earlier is None or current is None or current.identity != earlier.identity:
        return
    if current.generation <= earlier.generation:
        return
    added = [f"the label map {name!r}" for name in added_labels(earlier, current)]
    changed_notes = [
        key for key, value in current.metadata.items() if earlier.metadata.get(key) != value
    ]
    added += [f"the note {name!r}" for name in sorted(changed_notes)]
    if added:
        raise ArchiveExistsError(
            f"something was added to {path} while a new archive was made to replace it: "
            f"{', '.join(added)}. The old archive stays as it is; save elsewhere what was added, "
            "then try again",
            code="CONTENT_ADDED",
            path=path,
        )


def _digest(manifest: Manifest, label: str) -> str:
    files = _files(manifest, label)
    text = "\n".join(f"{key} {entry.digest}" for key, entry in sorted(files.items()))
    return digest_of(text.encode())


def _files(manifest: Manifest, label: str) -> dict[str, FileEntry]:
    start = f"{root_of(manifest.files)}{FOLDER}/{label}/"
    return {key: entry for key, entry in manifest.files.items() if key.startswith(start)}
