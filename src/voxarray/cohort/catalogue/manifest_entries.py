"""The entries of all archives of a cohort, read from their manifests."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from voxarray.cohort.catalogue.entry import Entry, entry_of
from voxarray.cohort.folder import CohortLayout
from voxarray.storage.remote.address import is_url

_READERS = 4
_IN_A_ROW = 8
_AT_A_TIME = 64
"""Entries that are read between two measurements of the time."""


def entries_of(folder: CohortLayout) -> dict[str, Entry | None]:
    """Entries of all archives, by file name; None for archives that were not made for a cohort."""
    return entries_at(list(folder.archives()))


def entries_at(paths: Sequence[str]) -> dict[str, Entry | None]:
    """Entries of archives, by file name; None also for archives that do not exist."""
    read_entries = list[Entry | None]()
    for start in range(0, len(paths), _AT_A_TIME):
        if _waits(read_entries, paths[start : start + _AT_A_TIME]):
            break
    if len(read_entries) < len(paths):
        # A thread takes several of a disk: to hand over one costs as much as to read it.
        size = 1 if any(map(is_url, paths[:1])) else _IN_A_ROW
        starts = range(len(read_entries), len(paths), size)
        with ThreadPoolExecutor(_READERS, "voxarray-catalogue") as readers:
            rows = readers.map(_entries, [paths[start : start + size] for start in starts])
            read_entries += itertools.chain.from_iterable(rows)
    return {os.path.basename(path): entry for path, entry in zip(paths, read_entries, strict=True)}


def _entries(paths: Sequence[str]) -> list[Entry | None]:
    return [entry_of(path) for path in paths]


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
