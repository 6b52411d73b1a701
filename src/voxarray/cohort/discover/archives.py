"""Finding what can be verified below a path: archives and cohorts at any depth, each once.

The search for sources (`voxarray.cohort.discover.files`) differs: it looks for scans and leaves out
the results of other runs, while here all results are wanted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from voxarray.archive.manifest import KEY as MANIFEST
from voxarray.cohort.discover.files import is_archive
from voxarray.cohort.folder import PLAN_FORMAT, CohortLayout
from voxarray.core.errors import AccessDeniedError, VoxarrayError, of_system
from voxarray.core.given_paths import path_text
from voxarray.formats.registry import names_archive
from voxarray.storage.remote.address import OBJECT_STORES, Address, as_local, is_url
from voxarray.storage.remote.writing import WritableObjects
from voxarray.storage.small_files import real_path
from voxarray.storage.staging_names import is_hidden_staging

_OF_COHORTS = ("plan.json", "catalogue.parquet")


@dataclass(frozen=True, slots=True)
class Holdings:
    """Archives and cohorts at some paths.

    Attributes:
        cohorts: Folders of cohorts.
        archives: Paths or URLs of archives that belong to none of these cohorts.
        barren: Given folders that hold neither.
        refused: Errors of folders that may not be read.
        count: Archives in all.
    """

    cohorts: tuple[CohortLayout, ...]
    archives: tuple[str, ...]
    barren: tuple[str, ...]
    refused: tuple[VoxarrayError, ...]
    count: int


def holdings(paths: Iterable[str | os.PathLike[str]]) -> Holdings:
    """The archives and cohorts at some paths and below them, in the order of their paths.

    A path that is no folder counts as an archive: opening it tells whether it is one. A folder that
    may not be read does not stop the search of others.
    """
    cohorts: dict[str, CohortLayout] = {}
    archives: dict[str, str] = {}
    barren, refused = [], []
    for path in [as_local(path_text(item)) for item in paths]:
        items = list(_at(path))
        if not items:
            barren.append(path)
        for item in items:
            if isinstance(item, VoxarrayError):
                refused.append(item)
            elif isinstance(item, CohortLayout):
                cohorts.setdefault(real_path(item.root), item)
            else:
                archives.setdefault(real_path(item), item)
    count = 0
    for cohort in cohorts.values():
        with suppress(AccessDeniedError):  # verifying the cohort reports it
            for archive in cohort.archives():  # once: in a bucket each is asked for
                archives.pop(real_path(archive), None)
                count += 1
    named_folders = {cohort.subjects for cohort in cohorts.values()}
    return Holdings(
        tuple(sorted(cohorts.values(), key=lambda cohort: cohort.root)),
        tuple(sorted(archives.values())),
        tuple(barren),
        tuple(error for error in refused if os.path.abspath(error.path or "") not in named_folders),
        count + len(archives),
    )


_Found = CohortLayout | str | VoxarrayError


def _at(path: str) -> Iterator[_Found]:
    if is_url(path):
        yield from _at_url(path)
        return
    expanded = os.path.expanduser(path)
    if not os.path.isdir(expanded):
        yield expanded
        return
    try:
        if is_archive(Path(expanded)):
            yield expanded
            return
        is_cohort = CohortLayout.of(expanded).is_cohort()
    except PermissionError as error:
        yield of_system(error, expanded)
        return
    if is_cohort:
        yield CohortLayout.of(expanded)
    yield from _below(expanded, set())


def _at_url(url: str) -> Iterator[CohortLayout | str]:
    """Cohorts and archives at a URL, and below it, if it is in a bucket, which can be listed."""
    address = Address.parse(url)
    parts = address.path.split("/")
    if address.scheme not in OBJECT_STORES or any(map(names_archive, filter(None, parts))):
        yield url
        return
    bucket = WritableObjects.at(url)
    keys = bucket.stamps()
    folders = {key.rpartition("/")[0] for key in keys if key.rpartition("/")[2] in _OF_COHORTS}
    yield from (CohortLayout.of(f"{bucket.url}/{folder}".rstrip("/")) for folder in sorted(folders))
    for key in keys:
        folder, _, name = key.rpartition("/")
        if (name == MANIFEST and names_archive(folder)) or names_archive(name):
            yield f"{bucket.url}/{folder if name == MANIFEST else key}"


def _below(folder: str, visited: set[tuple[int, int]]) -> Iterator[_Found]:
    """Cohorts and archives below a folder; each folder is visited once, despite links."""
    try:
        status = os.stat(folder)
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except OSError as error:
        yield of_system(error, folder)
        return
    if (status.st_dev, status.st_ino) in visited:
        return
    visited.add((status.st_dev, status.st_ino))
    for entry in entries:
        if not is_hidden_staging(entry.name):
            yield from _entry(os.path.join(folder, entry.name), visited)


def _entry(path: str, visited: set[tuple[int, int]]) -> Iterator[_Found]:
    try:
        if is_archive(Path(path)):
            yield path
            return
        is_cohort = os.path.isdir(path) and _is_cohort(path)
    except PermissionError as error:
        yield of_system(error, path)
        return
    if is_cohort:
        yield CohortLayout.of(path)
    if os.path.isdir(path):
        yield from _below(path, visited)


def _is_cohort(path: str) -> bool:
    """Whether a folder that the search found is a cohort; others write a ``plan.json``, too."""
    folder = CohortLayout.of(path)
    if os.path.isdir(folder.subjects):
        return folder.is_cohort()
    try:
        with open(folder.plan, "rb") as file:
            return PLAN_FORMAT.encode() in file.read(100)
    except OSError:
        return False
