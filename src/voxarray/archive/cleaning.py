"""What interrupted processes have left, removed when a user asks for it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace

from voxarray.archive.bucket_cleaning import clean_bucket
from voxarray.archive.generations import REPLACED
from voxarray.archive.layers import mend_archive, traces
from voxarray.archive.leftovers import Leftover, Outcome
from voxarray.archive.manifest import KEY
from voxarray.core.disk import remove_tree
from voxarray.core.errors import MissingFileError
from voxarray.core.given_paths import path_text
from voxarray.storage.folder_lock import (
    Ownership,
    ownership,
    remove_aside,
    remove_if_abandoned,
)
from voxarray.storage.remote.address import as_local, is_url

_LEFT = re.compile(
    r"\.(?P<name>.+)\.(?:"
    r"[0-9a-f]{16}\.(?:staging(?:\.new)?|replaced)"
    r"|\w+-\d+-[0-9a-f]{8}\.staging(?:\.ozx|\.old)?"  # of voxarray 0.1
    r"|[0-9a-f]{8}\.partial"
    r")|voxarray-copies-(?:[0-9a-f]{16}(?:\.new)?|[\w.]+-\d+-\w+)",
    re.DOTALL,
)
_REPLACED = (".replaced", ".staging.old")


def clean(
    path: str | os.PathLike[str], *, unlocked: bool = False, dry_run: bool = False
) -> list[Leftover]:
    """Remove what processes that were interrupted have left below a folder.

    Voxarray removes it by itself when it writes to the same place again, if a lock tells that its
    owner has ended. What is in use is never removed.

    Args:
        path: A folder, such as that of a cohort, or a place in a bucket, where no lock tells
            anything: there all that is left is removed if ``unlocked`` is set.
        unlocked: Whether also that goes of which no lock can tell whether its owner lives: where
            the file system has no locks or keeps them to one machine, and what voxarray 0.1 left.
            To be set only while nobody converts there. An archive that was moved aside for a new
            one is put back if the new one was never published.
        dry_run: Whether to look only.

    Returns:
        All that was found, sorted by path; also folders that may not be read, as ``failed``.

    Raises:
        MissingFileError: If there is no such folder.
    """
    text = as_local(path_text(path))
    if is_url(text):
        return clean_bucket(text, unlocked=unlocked, dry_run=dry_run)
    root = os.path.abspath(os.path.expanduser(text))
    if not os.path.isdir(root):
        raise MissingFileError(f"there is no folder {root}: check the path", path=root)
    closed: list[OSError] = []
    leftovers = []
    for archive in _archives(root):
        leftovers += _traces(archive, dry_run=dry_run)
    for leftover_path in _below(root, closed):
        owner = ownership(leftover_path)
        leftover = Leftover(leftover_path, owner, _bytes(leftover_path))
        may_remove = owner is Ownership.ABANDONED or (unlocked and owner is Ownership.UNKNOWN)
        leftovers.append(_removed(leftover) if may_remove and not dry_run else leftover)
    for error in closed:
        problem = f"its content cannot be listed ({error.strerror})"
        leftovers.append(Leftover(error.filename, Ownership.UNKNOWN, 0, "failed", problem))
    return sorted(leftovers, key=lambda leftover: leftover.path)


def _traces(archive: str, *, dry_run: bool) -> list[Leftover]:
    """Remove what interrupted additions have left inside an archive."""
    paths = [f"{archive}/{key}" for key in traces(archive)]
    leftovers = [Leftover(path, Ownership.ABANDONED, _bytes(path)) for path in paths]
    if not paths or dry_run:
        return leftovers
    try:
        is_locked = mend_archive(archive)
    except OSError as error:
        return [replace(leftover, outcome="failed", problem=str(error)) for leftover in leftovers]
    if not is_locked:
        return [replace(leftover, ownership=Ownership.UNKNOWN) for leftover in leftovers]
    remaining = traces(archive)
    return [
        replace(
            leftover,
            outcome="left" if leftover.path.removeprefix(f"{archive}/") in remaining else "removed",
        )
        for leftover in leftovers
    ]


def _archives(root: str) -> Iterator[str]:
    """Archives at a path and below it that were ever added to."""
    for folder, folders, _ in os.walk(root):
        if os.path.lexists(os.path.join(folder, KEY)):
            if os.path.isdir(os.path.join(folder, REPLACED)):
                yield folder
            folders.clear()
        folders[:] = [name for name in folders if not _LEFT.fullmatch(name)]


def _removed(leftover: Leftover) -> Leftover:
    try:
        if leftover.ownership is Ownership.ABANDONED:
            owner = remove_if_abandoned(leftover.path)
            return replace(leftover, ownership=owner, outcome=_outcome(owner))
        if leftover.path.endswith(_REPLACED) and _put_back(leftover.path):
            return replace(leftover, outcome="restored")
        if leftover.path.endswith(_REPLACED):
            remove_tree(leftover.path) if os.path.isdir(leftover.path) else os.unlink(leftover.path)
        elif os.path.isdir(leftover.path):
            remove_aside(leftover.path)
        else:
            os.unlink(leftover.path)
    except OSError as error:
        return replace(leftover, outcome="failed", problem=str(error))
    return replace(leftover, outcome="removed")


def _outcome(owner: Ownership) -> Outcome:
    # If another process has taken the folder over meanwhile, it is left alone.
    return "removed" if owner is Ownership.ABANDONED else "left"


def _put_back(path: str) -> bool:
    """Rename an archive that was moved aside to its own name, if that is free."""
    folder, name = os.path.split(path)
    match = _LEFT.fullmatch(name)
    destination = os.path.join(folder, match["name"] if match and match["name"] else name)
    if os.path.lexists(destination):
        return False
    os.rename(path, destination)
    return True


def _below(root: str, closed: list[OSError]) -> Iterator[str]:
    """Paths of what was left below a folder; archives are not looked into.

    Args:
        root: The folder.
        closed: Gets the errors of folders that may not be read.
    """
    for folder, folders, files in os.walk(root, onerror=closed.append):
        yield from (
            os.path.join(folder, name) for name in (*folders, *files) if _LEFT.fullmatch(name)
        )
        folders[:] = [
            name
            for name in folders
            if not _LEFT.fullmatch(name)
            and not os.path.lexists(os.path.join(folder, name, "zarr.json"))
        ]


def _bytes(path: str) -> int:
    if not os.path.isdir(path):
        return os.lstat(path).st_size if os.path.lexists(path) else 0
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:  # it went meanwhile
                continue
    return total
