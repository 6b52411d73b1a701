"""Hidden folders beside their destinations, in which files and archives grow until they are whole.

``.NAME.0123456789abcdef.staging`` holds a lock file and what becomes ``NAME``; see
`voxarray.storage.folder_lock`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from voxarray.storage.folder_lock import FolderLock, random_identity, remove_if_abandoned
from voxarray.storage.spare_folders import spare_folders
from voxarray.storage.staging_names import is_hidden_staging

_STAGED = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.staging(?:\.new)?", re.DOTALL)

_MANY = 1000
_SHARE = 20
_next_look: dict[str, float] = {}


def hidden_name(name: str) -> str:
    """Name of a folder in which what will have a name is built; a new one each time."""
    return f".{name}.{random_identity()}.staging"


@contextmanager
def folders_made(*paths: str) -> Iterator[None]:
    """Make folders, and those above them; those that are new go again if the body fails.

    Raises:
        OSError: What the disk refuses.
    """
    new = list[str]()
    for path in paths:
        while not os.path.isdir(path) and path not in new:
            new.append(path)
            path = os.path.dirname(path)
    try:
        for path in new:
            os.makedirs(path, exist_ok=True)
        yield
    except BaseException:
        for path in sorted(new, key=len, reverse=True):
            with suppress(OSError):  # somebody else has put something there
                os.rmdir(path)
        raise


@contextmanager
def hidden_folder(folder: str, name: str) -> Iterator[FolderLock]:
    """As `make_hidden_folder`; it is deleted in the end, however that comes.

    Inside `folders_reused` it may be one that was there before, and stays if it is empty again.

    Raises:
        OSError: What the disk refuses.
    """
    spares, lock = spare_folders(folder), FolderLock("")
    try:  # all in here, for Ctrl-C comes at any time
        reused = spares.take(os.path.join(folder, hidden_name(name))) if spares.users else None
        if reused is not None:
            lock = reused
        else:
            remove_abandoned(folder, name)
            lock.make_folder(folder, lambda: hidden_name(name))
        yield lock
        if spares.users and spares.keep(lock):
            lock = FolderLock("")
    finally:
        lock.remove()


def make_hidden_folder(folder: str, name: str, *, shared: bool = False) -> FolderLock:
    """A new hidden folder, of this process; those of the same name that nobody has go.

    Args:
        folder: Where.
        name: Of what will be built.
        shared: As `FolderLock.make` has it.

    Raises:
        OSError: What the disk refuses.
    """
    remove_abandoned(folder, name)
    return FolderLock.make(folder, lambda: hidden_name(name), shared=shared)


def remove_abandoned(folder: str, name: str | None = None) -> None:
    """Delete the staging folders in a folder whose owners have ended, as their locks tell.

    Args:
        folder: Where they are.
        name: Name of their destination; None takes all.
    """
    if name is not None and time.monotonic() < _next_look.get(folder, 0):
        return
    for entry in hidden_folders(folder, name):
        with suppress(OSError):  # another process cleans up too
            remove_if_abandoned(os.path.join(folder, entry))


def names_of_hidden(folder: str) -> set[str]:
    """Names of what is being built in the staging folders in a folder, or was."""
    return {
        match["name"] for entry in hidden_folders(folder) if (match := _STAGED.fullmatch(entry))
    }


def hidden_folders(folder: str, name: str | None = None) -> list[str]:
    """Names of the staging folders in a folder, of one destination or of all."""
    began = time.monotonic()
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    if len(names) > _MANY:  # a thousand images saved into one folder list it a thousand times
        now = time.monotonic()
        _next_look[folder] = now + _SHARE * (now - began)
    start = "." if name is None else f".{name}."  # most names are of others
    hidden = [entry for entry in names if entry.startswith(start)]
    matches = (_STAGED.fullmatch(entry) for entry in hidden if is_hidden_staging(entry))
    return [m[0] for m in matches if m and (name is None or m["name"] == name)]
