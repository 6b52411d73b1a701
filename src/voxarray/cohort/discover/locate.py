"""Locating the inputs that a plan names, without searching for others."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence

from voxarray.cohort.discover.buckets import is_prefix
from voxarray.cohort.discover.duplicates import digest_of
from voxarray.cohort.discover.files import joined
from voxarray.cohort.discover.manifest_table import name_of
from voxarray.cohort.discover.search import fixed_part, found_at, is_image, prefix_of
from voxarray.cohort.options import ArchiveOptions, InputSelection
from voxarray.core.errors import MissingFileError
from voxarray.storage.remote.address import as_local, is_url


def locate(
    names: Sequence[str], sources: Sequence[str], choice: InputSelection, options: ArchiveOptions
) -> dict[str, str]:
    """Locations of inputs, by the names that `search` gives them.

    Folders are not searched; tables and lists are read. Whether an input exists turns out when it
    is opened.

    Args:
        names: Names of the inputs.
        sources: Files, folders, tables or URLs that were searched.
        choice: Which inputs belonged together in that search.
        options: How the archives of that search are made.

    Raises:
        MissingFileError: If a source is not there, or none can hold an input (``OTHER_SOURCE``).
    """
    roots: list[tuple[str, str]] = []
    listed: dict[str, list[str]] = {}
    is_prefixed = len(sources) > 1
    for source in map(as_local, sources):
        path = os.path.expanduser(source)
        if is_prefix(source):
            roots.append((prefix_of(source) if is_prefixed else "", source.rstrip("/")))
            name = name_of(source, "")
            listed.setdefault(name, []).append(source.rstrip("/"))  # it may be one image
            continue
        if not is_url(source) and os.path.isdir(path):
            roots.append((prefix_of(source) if is_prefixed else "", os.path.abspath(path)))
        elif not is_url(source) and not os.path.exists(path) and glob.has_magic(path):
            roots.append(("", fixed_part(path)))
        if _is_told_at_once(source, path):
            for item in found_at(source, choice, options):
                listed.setdefault(item.source, []).append(item.location)
    return {name: _located(name, roots, listed) for name in names}


def _is_told_at_once(source: str, path: str) -> bool:
    """Whether the inputs of a source are known without a search, as for all but folders and globs.

    An archive is one input, though it is a folder.
    """
    if is_url(source) or os.path.isfile(path):
        return True
    if os.path.isdir(path):
        return is_image(path)
    if glob.has_magic(path):
        return False
    raise MissingFileError(f"there is nothing at {path}: check the path", path=path)


def _located(name: str, roots: Sequence[tuple[str, str]], listed: Mapping[str, list[str]]) -> str:
    short, separator, digest = name.rpartition("#")
    candidates = list(_candidates(name, roots, listed))
    if separator:
        # If two inputs have the same name, a digest of the location follows it (`told_apart`).
        with_digest = _candidates(short, roots, listed)
        candidates += [location for location in with_digest if digest_of(location) == digest]
    if len(candidates) > 1:
        candidates = [
            location for location in candidates if is_url(location) or os.path.lexists(location)
        ] or candidates
    if not candidates:
        raise MissingFileError(
            f"the plan was made from other sources: none of the given ones holds {name}",
            code="OTHER_SOURCE",
        )
    return candidates[0]


def _candidates(
    name: str, roots: Sequence[tuple[str, str]], listed: Mapping[str, list[str]]
) -> Iterator[str]:
    yield from listed.get(name, ())
    for prefix, root in roots:
        if name.startswith(prefix):
            yield joined(root, name[len(prefix) :])
