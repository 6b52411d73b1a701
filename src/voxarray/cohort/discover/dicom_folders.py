"""Hint for patterns that match the files of DICOM folders, where they must match the folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from voxarray.cohort.discover.files import joined
from voxarray.cohort.discover.input import source_told
from voxarray.cohort.discover.patterns import compile_pattern, told
from voxarray.cohort.discover.search import prefix_of
from voxarray.formats.dicom.detect import is_dicom_folder
from voxarray.formats.registry import format_of
from voxarray.storage.remote.address import as_local, is_url


def of_dicom_folders(
    patterns: Sequence[tuple[str, str]], names: Iterable[str], sources: Sequence[str]
) -> str:
    """What a message adds if patterns match files in a DICOM folder; empty if they do not.

    A DICOM folder is one image: patterns see the path of the folder, and never those of its files.

    Args:
        patterns: Names of images, and patterns that match nothing.
        names: Images that no pattern matches, as the user calls them.
        sources: What was searched.
    """
    rules = [(image, folders, compile_pattern(folders)) for image, folders in _of_folders(patterns)]
    names_no_folder = any("/" not in text for _, text in patterns)
    for name in names:
        if format_of(name) is not None:  # a file, whose suffix says so
            continue
        for below, path in _places(name, sources):
            matching = [(image, folders) for image, folders, rule in rules if rule.fullmatch(below)]
            is_top = below == "." and names_no_folder
            if not (matching or is_top) or not (is_url(path) or is_dicom_folder(path)):
                continue
            advice = (
                f"a pattern must match the path of the folder, such as {told(matching[:1])}"
                if matching
                else "leave the pattern out, or give the folder above it as the source"
            )
            folder = source_told(name)
            return f". {folder} is a DICOM folder, whose files together are one image: {advice}"
    return ""


def _of_folders(patterns: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Patterns of the folders in which these look for files."""
    for image, text in patterns:
        folders = text.rpartition("/")[0]
        if folders:
            is_any_depth = folders == "**" or folders.endswith("/**")
            yield image, f"{folders}/*" if is_any_depth else folders


def _places(name: str, sources: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Path below its source, and location, of an image as the user calls it."""
    for source in map(as_local, sources):
        prefix = prefix_of(source) if len(sources) > 1 else ""
        below = name[len(prefix) :]
        folder = source if is_url(source) else os.path.expanduser(source)
        path = joined(folder, below)
        if name.startswith(prefix) and (is_url(path) or os.path.isdir(path)):
            yield below, path
