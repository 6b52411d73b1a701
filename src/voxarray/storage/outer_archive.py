"""The archive around a place, into which nothing else may be written."""

from __future__ import annotations

import os

from voxarray.core.errors import FormatError
from voxarray.core.given_paths import absolute_path
from voxarray.storage.archive_suffixes import HIERARCHY_SUFFIX
from voxarray.storage.remote.address import is_url
from voxarray.storage.small_files import is_file, real_path

_MANIFEST = "manifest.json"


def refuse_place_in_archive(path: str) -> None:
    """Refuse to write a file or an archive into another archive, whose manifest names all it holds.

    Args:
        path: Path or URL of what would be written.

    Raises:
        FormatError: ``OTHER_FORM``.
    """
    for folder in _above(path):
        # By the name first: in a bucket each look takes a round trip.
        if folder.lower().endswith(HIERARCHY_SUFFIX) and is_file(f"{folder}/{_MANIFEST}"):
            raise FormatError(
                f"{path} lies in {folder}, which is an archive, and files that are written there "
                "would not belong to it: choose a folder outside of it; to add a label map to an "
                "archive, use vx.Archive(path).add_labels (voxarray add-labels)",
                code="OTHER_FORM",
                path=path,
            )


def _above(location: str) -> list[str]:
    """Folders above a path or URL; links among them are followed, but not a link at its end."""
    if not is_url(location):
        try:
            folder = real_path(os.path.dirname(absolute_path(location)))
        except (OSError, ValueError):  # no path at all: whoever writes there says so
            return []
        if HIERARCHY_SUFFIX not in folder.lower():
            return []  # nearly every path, and some are deep
        folders = [folder]  # not by `pathlib`, which takes five times as long
        while (parent := os.path.dirname(folders[-1])) != folders[-1]:
            folders.append(parent)
        return folders
    scheme, _, rest = location.partition("://")
    parts = rest.rstrip("/").split("/")
    return [f"{scheme}://{'/'.join(parts[:count])}" for count in range(len(parts) - 1, 0, -1)]
