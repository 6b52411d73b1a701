"""What was added to an archive, and would go with it."""

from __future__ import annotations

from voxarray.archive.layer_names import FOLDER, names_in
from voxarray.archive.locate import open_store
from voxarray.archive.manifest import FileEntry, Manifest
from voxarray.archive.roots import root_of
from voxarray.core.errors import ArchiveExistsError, VoxarrayError


def manifest_at(path: str) -> Manifest | None:
    """The manifest of what is at a path; None of what is no archive, or a damaged one."""
    try:
        return Manifest.read(open_store(path))
    except (VoxarrayError, OSError):
        return None


def added_labels(first: Manifest | None, now: Manifest) -> list[str]:
    """Label maps that an archive did not have, or not with these bytes, in an earlier generation.

    Args:
        first: The earlier manifest; None if nobody knows it, and any label map may have been added.
        now: The manifest that it has.
    """
    return [
        name
        for name in names_in(now.files, root_of(now.files))
        if first is None or _files(now, name) != _files(first, name)
    ]


def refuse_additions(path: str, first: Manifest | None, now: Manifest | None) -> None:
    """Refuse to replace an archive to which somebody has added something since it was looked at.

    Whoever wanted it replaced cannot have known of that.

    Args:
        path: The archive.
        first: Its manifest when the new one was begun; None if there was none.
        now: The manifest that is there.

    Raises:
        ArchiveExistsError: ``CONTENT_ADDED``.
    """
    if first is None or now is None or now.identity != first.identity:
        return
    if now.generation <= first.generation:
        return
    added = [f"the label map {name!r}" for name in added_labels(first, now)]
    noted = [key for key, value in now.metadata.items() if first.metadata.get(key) != value]
    added += [f"the note {name!r}" for name in sorted(noted)]
    if added:
        raise ArchiveExistsError(
            f"while a new archive was made that was to replace {path}, somebody added to the old "
            f"one: {', '.join(added)}. The old archive stays as it is; save elsewhere what was "
            "added, then try again",
            code="CONTENT_ADDED",
            path=path,
        )


def _files(manifest: Manifest, label: str) -> dict[str, FileEntry]:
    start = f"{root_of(manifest.files)}{FOLDER}/{label}/"
    return {key: entry for key, entry in manifest.files.items() if key.startswith(start)}
