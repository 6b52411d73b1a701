"""Replacing one archive by another, while other processes may add to the old one.

A process that adds label maps or notes takes several steps, each by path
(`voxarray.archive.generations`): an exchange between two of them would lose the addition, or put it
into the new archive. So the exchange holds the lock of those processes. Where no lock excludes
them, the old archive is read once more after the exchange, and is put back if it has changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from voxarray.archive import manifest as manifests
from voxarray.archive.generations import REPLACED, replaced_manifests
from voxarray.core.errors import ArchiveExistsError, VoxarrayError
from voxarray.storage.swap_lock import swap_lock


@contextmanager
def changes_held_up(root: str) -> Iterator[bytes | None]:
    """Keep others from changing an archive in a local folder; does nothing if it is no archive.

    Yields:
        The bytes of its manifest, if no lock keeps others from changing it; None if one does.

    Raises:
        ArchiveError: If somebody else has been changing it for two minutes (``BUSY``).
    """
    path = f"{root}/{manifests.KEY}"
    with ExitStack() as locks:
        try:
            is_locked = locks.enter_context(swap_lock(path))
        except VoxarrayError:
            raise  # some of our exceptions are OSErrors, too
        except OSError:  # no manifest, or this user may not write to it; other users may
            is_locked = False
        yield None if is_locked else _bytes(path)


def was_changed(root: str, manifest_before: bytes | None) -> bool:
    """Whether an archive that was moved aside was changed, or was about to be.

    Args:
        root: Where it is now.
        manifest_before: Its manifest, as `changes_held_up` gave it.
    """
    if manifest_before is None:
        return False
    if _bytes(f"{root}/{manifests.KEY}") != manifest_before:
        return True
    try:
        generation = manifests.Manifest.parse(manifest_before, root).generation
    except VoxarrayError:  # damaged, so that nobody adds to it
        return False
    # A writer makes this name in its first step, before it moves anything.
    return f"{REPLACED}/{generation}.json" in replaced_manifests(root).values()


def changed_at_last(path: str) -> ArchiveExistsError:
    """The error for an archive that was changed at the moment of the exchange."""
    return ArchiveExistsError(
        f"another process was changing {path} when a new archive was about to replace it: the old "
        "archive stays as it is; look at what was added to it, then try again. If no process "
        "writes to the archive, run voxarray clean --unlocked on it",
        code="CONTENT_ADDED",
        path=path,
    )


def _bytes(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None
