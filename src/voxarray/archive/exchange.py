"""The moment in which one archive takes the place of another, while others may add to the old one.

Who adds label maps or notes goes by path, step after step (`voxarray.archive.generations`): an
exchange between two steps would lose what is added, or put it into the new archive. So the exchange
holds the lock that they take. Where no lock excludes them, the old archive is looked at once more
afterwards, and is put back if it is not the one that was replaced.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from voxarray.archive import manifest as manifests
from voxarray.archive.generations import HISTORY, history
from voxarray.core.errors import ArchiveExistsError, VoxarrayError
from voxarray.storage.swap_lock import swap_lock


@contextmanager
def changes_held_up(root: str) -> Iterator[bytes | None]:
    """Keep others from changing an archive in a local folder; nothing for what is none.

    Yields:
        The manifest that it has, if others may change it all the same; None if nobody can.

    Raises:
        ArchiveError: If somebody else has been changing it for two minutes (``BUSY``).
    """
    path = f"{root}/{manifests.KEY}"
    with ExitStack() as held:
        try:
            alone = held.enter_context(swap_lock(path))
        except VoxarrayError:
            raise  # some of ours are OSErrors, too
        except OSError:  # there is none, or this user may not change it: others may
            alone = False
        yield None if alone else _bytes(path)


def was_changed(root: str, seen: bytes | None) -> bool:
    """Whether an archive that was moved is not as it was, or somebody was about to change it.

    Args:
        root: Where it is now.
        seen: Its manifest as `changes_held_up` gave it.
    """
    if seen is None:
        return False
    if _bytes(f"{root}/{manifests.KEY}") != seen:
        return True
    try:
        generation = manifests.Manifest.parse(seen, root).generation
    except VoxarrayError:  # damaged, so that nobody adds to it
        return False
    # The name that a writer takes first, before anything moves.
    return f"{HISTORY}/{generation}.json" in history(root).values()


def changed_at_last(path: str) -> ArchiveExistsError:
    """The error of an archive that was changed in the moment of the exchange."""
    return ArchiveExistsError(
        f"somebody was changing {path} in the moment in which a new archive was to replace it: the "
        "old archive stays as it is; look at what was added to it, then try again. If nobody "
        "writes there, run voxarray clean --unlocked on it",
        code="CONTENT_ADDED",
        path=path,
    )


def _bytes(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None
