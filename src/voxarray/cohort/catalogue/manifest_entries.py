"""The entries of all archives of a cohort, read from their manifests."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from voxarray.archive.manifest import KEY as MANIFEST
from voxarray.cohort.catalogue import kept_manifests
from voxarray.cohort.catalogue.entry import Entry, entry_if_there, entry_in, entry_of
from voxarray.cohort.catalogue.kept_manifests import Kept
from voxarray.cohort.folder import CohortLayout, is_archive_there
from voxarray.core import settings
from voxarray.storage.archive_suffixes import FOLDER_SUFFIX
from voxarray.storage.remote.address import is_url

if TYPE_CHECKING:
    from voxarray.storage.remote.objects import Stamp

Read = TypeVar("Read")

_OF_A_PAGE = 1000
"""Objects that an answer to a listing names."""

_READERS = 4
_IN_A_ROW = 8
_AT_A_TIME = 64
"""Entries that are read between two measurements of the time."""


def entries_of(folder: CohortLayout) -> dict[str, Entry | None]:
    """Entries of all archives, by file name; None for archives that were not made for a cohort."""
    if not is_url(folder.root):
        return entries_at(list(folder.archives()))
    kept = kept_manifests.kept_in(folder.subjects)
    listed = _listed(folder, kept)
    if listed is None:
        paths, read = folder.candidates(), _if_there
    else:
        names = sorted({key.partition("/")[0] for key in listed})
        paths = folder.candidates_among(names)
        read = partial(_if_changed, listed, kept)
    found = zip(paths, _read(paths, read), strict=True)
    return {os.path.basename(path): entry for path, (is_there, entry) in found if is_there}


def _listed(folder: CohortLayout, kept: Mapping[str, Kept]) -> Mapping[str, Stamp] | None:
    """Stamps of all objects of all archives; None if reading the manifests takes less time.

    A listing names all objects, a thousand by each request, and one request comes after another;
    manifests are asked for side by side. How many objects there are is known only of the archives
    whose manifests are kept. If there are many more, the listing is given up.
    """
    pages = -(-sum(1 + one.files for one in kept.values()) // _OF_A_PAGE)
    at_once = max(1, int(settings.get("remote-requests")))
    if not kept or (pages > 1 and pages * at_once > len(kept)):
        return None
    from voxarray.storage.remote.writing import WritableObjects  # not loaded for a local folder

    return WritableObjects.at(folder.subjects).stamps_within((1 + pages) * _OF_A_PAGE)


def _if_changed(
    listed: Mapping[str, Stamp], kept: Mapping[str, Kept], path: str
) -> tuple[bool, Entry | None]:
    """As `_if_there`; what was listed is not asked for, nor what is kept and has not changed."""
    name = os.path.basename(path)
    if not path.endswith(FOLDER_SUFFIX):
        return _if_there(path)
    stamp = listed.get(f"{name}/{MANIFEST}")
    if stamp is None:
        return False, None
    known = kept.get(name)
    return _if_there(path) if known is None or known.stamp != stamp else entry_in(known.data, path)


def entries_at(paths: Sequence[str]) -> dict[str, Entry | None]:
    """Entries of archives, by file name; None also for archives that do not exist."""
    read_entries = list[Entry | None]()
    for start in range(0, len(paths), _AT_A_TIME):
        if _waits(read_entries, paths[start : start + _AT_A_TIME]):
            break
    read_entries += _read(paths[len(read_entries) :], entry_of)
    return {os.path.basename(path): entry for path, entry in zip(paths, read_entries, strict=True)}


def _if_there(path: str) -> tuple[bool, Entry | None]:
    """Whether there is an archive in a bucket, and its entry."""
    if path.endswith(FOLDER_SUFFIX):
        return entry_if_there(path)  # the manifest tells both
    is_there = is_archive_there(path)
    return is_there, entry_of(path) if is_there else None


def _read(paths: Sequence[str], read: Callable[[str], Read]) -> list[Read]:
    """What is read of archives, by several threads."""
    if not paths:
        return []
    # A thread takes several of a disk: to hand over one costs as much as to read it.
    size, readers = _IN_A_ROW, _READERS
    if is_url(paths[0]):
        size, readers = 1, max(1, int(settings.get("remote-requests")))

    def read_some(some: Sequence[str]) -> list[Read]:
        return [read(path) for path in some]

    groups = [paths[start : start + size] for start in range(0, len(paths), size)]
    with ThreadPoolExecutor(readers, "voxarray-catalogue") as threads:
        return list(itertools.chain.from_iterable(threads.map(read_some, groups)))


def _waits(read_entries: list[Entry | None], paths: Sequence[str]) -> bool:
    """Read some entries in this thread; returns whether it waited for most of the time.

    Python's threads take turns, and each turn costs a third of the time of an entry. Several
    threads pay only if they wait for a disk or a store.
    """
    if any(map(is_url, paths[:1])):
        return True
    began, busy = time.perf_counter(), time.thread_time()
    read_entries += map(entry_of, paths)
    return time.perf_counter() - began > 2 * (time.thread_time() - busy)
