"""Names of the label maps in an archive: which ones can be, and which there are."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from voxarray.archive import documents
from voxarray.archive.manifest import is_key
from voxarray.archive.metadata import OME_VERSION
from voxarray.core.errors import FormatError
from voxarray.storage.archive_suffixes import ENDS_OF_STORES

FOLDER = "labels"
LIST = f"{FOLDER}/zarr.json"
"""OME-Zarr's list of the names."""

_NAME = re.compile(r"[^./\\\0-\x1f\x7f][^/\\\0-\x1f\x7f]*")
_LONGEST = 200  # bytes; file systems take 255, and a temporary name adds some while it is written


def require_name(name: object) -> str:
    """A name that a label map can have, as it was given.

    Raises:
        FormatError: If it cannot name a folder on every system (``BAD_NAME``).
    """
    is_usable = isinstance(name, str) and _NAME.fullmatch(name) and is_key(name)
    if not isinstance(name, str) or not is_usable or name == "zarr.json" or name != name.strip():
        raise FormatError(
            f"{name!r:.100} cannot name a label map: use a name without slashes and control "
            "characters, without spaces at its ends, and without a dot at its start",
            code="BAD_NAME",
        )
    # In a URL, only the suffix tells where an archive begins.
    if name.lower().endswith(ENDS_OF_STORES):
        raise FormatError(
            f"{name!r:.100} cannot name a label map, since its suffix is that of an archive: leave "
            "the suffix out",
            code="BAD_NAME",
        )
    if len(name.encode()) > _LONGEST:
        raise FormatError(
            f"the name of a label map may have at most {_LONGEST} bytes, but {name!r:.100}... has "
            f"{len(name.encode())}: choose a shorter one",
            code="BAD_NAME",
        )
    return name


def names_in(files: Iterable[str], prefix: str = "") -> list[str]:
    """Names of the label maps whose files these are, sorted.

    Args:
        files: Keys in an archive.
        prefix: Folder of the image, with a final slash; empty for the main one.
    """
    start = f"{prefix}{FOLDER}/"
    parts = (key[len(start) :].split("/", 1) for key in files if key.startswith(start))
    return sorted({names[0] for names in parts if len(names) > 1})


def taken_by(name: str, names: Iterable[str]) -> str | None:
    """The first of ``names`` that a file system may not tell from ``name``; None if all differ."""
    folded_name = _folded(name)
    return next((other for other in names if _folded(other) == folded_name), None)


def list_document(names: Iterable[str]) -> bytes:
    """OME-Zarr's list of the names, as bytes."""
    attributes: Mapping[str, Any] = {"ome": {"version": OME_VERSION, "labels": sorted(names)}}
    return documents.dump(documents.group(attributes))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())
