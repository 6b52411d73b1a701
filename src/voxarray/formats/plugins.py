"""Formats that other packages add with entry points."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from voxarray.core.caller_warnings import warn_by_code
from voxarray.formats.record import Format

GROUP = "voxarray.formats"
"""Entry points whose values are `Format` records."""

SOURCES_GROUP = "voxarray.sources"
"""Entry points of release 0.1: a suffix without its dot, and a callable that opens a path."""


def added_formats(reserved: Iterable[str]) -> list[Format]:
    """Formats of installed packages, in the order of their names.

    Args:
        reserved: Suffixes of the formats that come with voxarray.

    Warns:
        VoxarrayWarning: An entry cannot be loaded or is no `Format` (``BAD_FORMAT_ENTRY``), or a
            suffix of it is taken (``DUPLICATE_FORMAT``). It is left out, the others are not.
    """
    owners = dict.fromkeys(reserved, "voxarray")
    formats = []
    for entry, record in _records():
        clash = [suffix for suffix in record.suffixes if suffix in owners]
        if clash:
            warn_by_code(
                "DUPLICATE_FORMAT",
                f"the entry point {entry.name!r} ({entry.value}) names {', '.join(clash)}, which "
                f"{owners[clash[0]]} already reads: the entry point is ignored; uninstall one of "
                "the two packages",
            )
            continue
        owners |= dict.fromkeys(record.suffixes, entry.value)
        formats.append(record)
    return formats


def _records() -> Iterator[tuple[Any, Format]]:
    formats, sources = _installed(_places())
    for entry in formats:
        try:
            record = entry.load()
        except Exception as error:  # whatever a package does when it is imported
            warn_by_code(
                "BAD_FORMAT_ENTRY",
                f"{_description(entry)} cannot be loaded ({error!r}): it is ignored; repair or "
                "uninstall its package",
            )
            continue
        if not isinstance(record, Format):
            kind = type(record).__name__
            warn_by_code(
                "BAD_FORMAT_ENTRY",
                f"{_description(entry)} is a {kind}, not a Format: it is ignored; repair or "
                "uninstall its package",
            )
            continue
        yield entry, record
    for entry in sources:
        yield entry, Format(entry.name, (f".{entry.name.lower()}",), open=entry.value)


def _places() -> tuple[tuple[object, ...], ...]:
    """Where packages are installed; another answer after one was added, removed or replaced."""
    return tuple((place, *_changed(place or os.curdir)) for place in sys.path)


def _changed(place: str) -> tuple[int, ...]:
    try:
        status = os.stat(place)
    except OSError:  # what does not exist holds no packages
        return ()
    return status.st_dev, status.st_ino, status.st_mtime_ns


@lru_cache(maxsize=1)
def _installed(places: tuple[tuple[object, ...], ...]) -> Any:  # noqa: ARG001  # the key
    """Entry points of both groups: reading a file of every distribution takes 10 ms and more."""
    import importlib.metadata  # 40 ms, and seldom needed

    return _of_both_groups(importlib.metadata.entry_points())


def _of_both_groups(entries: Any) -> tuple[list[Any], list[Any]]:
    """By name, those of `GROUP` and those of `SOURCES_GROUP`, among those of every package."""
    formats, sources = (
        sorted(entries.select(group=group), key=lambda entry: (entry.name, entry.value))
        for group in (GROUP, SOURCES_GROUP)
    )
    return formats, sources


def _description(entry: Any) -> str:
    return f"the entry point {entry.name!r} of {GROUP} ({entry.value})"
