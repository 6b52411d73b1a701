"""Paths that fit a glob, where links may lead from folder to folder."""

from __future__ import annotations

import glob
import heapq
import os
from collections.abc import Iterable, Iterator

from voxarray.cohort.discover.duplicates import strangeness
from voxarray.cohort.discover.listing import is_folder

_ANY = "**"


def matches(pattern: str) -> set[str]:
    """Paths that fit a pattern, as of `glob.glob` with ``recursive=True``.

    There, ``**`` goes through every chain of links between folders, of which there may be too many
    to wait for. Here it enters each folder once, by its own name if that is below, too.
    """
    parts = pattern.split(os.sep)
    if _ANY not in parts:
        return set(glob.glob(pattern))
    first = parts.index(_ANY)
    last = first
    while last + 1 < len(parts) and parts[last + 1] == _ANY:
        last += 1
    rest = parts[last + 1 :]
    above = [os.sep.join([*parts[:first], ""])]
    if glob.has_magic(above[0]):
        above = sorted(glob.glob(above[0]))
    paths = set[str]()
    for folder in _folders(above):
        if rest == [""]:
            paths.add(os.path.join(folder, ""))
        elif rest:
            paths |= matches(os.path.join(glob.escape(folder), *rest))
        else:
            paths.add(folder)
            paths.update(path for path, entry in _within(folder) if not is_folder(entry))
    return paths - {""}


def _folders(above: Iterable[str]) -> Iterator[str]:
    """Folders and all below them that are not hidden, each once."""
    links = [_link(path) for path in above if os.path.isdir(path or os.curdir)]
    heapq.heapify(links)
    entered = set[str]()
    while links:
        _, path, real = heapq.heappop(links)
        waiting = [(path, real)]
        while waiting:
            path, real = waiting.pop()
            if real in entered:
                continue
            entered.add(real)
            yield path
            for below, entry in _within(path):
                if not is_folder(entry):
                    continue
                if entry.is_symlink():
                    heapq.heappush(links, _link(below))
                else:
                    waiting.append((below, os.path.join(real, entry.name)))


def _link(path: str) -> tuple[int, str, str]:
    real = os.path.realpath(path or os.curdir)
    return strangeness(os.path.abspath(path), real), path, real


def _within(folder: str) -> list[tuple[str, os.DirEntry[str]]]:
    """Paths in a folder that are not hidden, with their entries; none if it may not be read."""
    try:
        with os.scandir(folder or os.curdir) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError:
        return []
    return [(os.path.join(folder, entry.name), entry) for entry in visible]
