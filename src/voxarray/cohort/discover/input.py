"""An input that was found: a file, folder or URL, whose it is, and what it is called."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from voxarray.archive.metadata import Kind
from voxarray.core.printable import printable
from voxarray.formats.suffixes import suffix_of

IMAGE, LABEL = "image", "label"

SUBJECT_KEY = "subject"
"""Under which a subject of a cohort holds its own name, and so no image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveredInput:
    """One input, of which nothing was opened yet.

    Attributes:
        subject: Images of one subject belong together.
        image: Name of the image in its subject.
        kind: Whether it is a label map.
        source: What the user calls it: its path below the source that was named.
        location: Absolute path, or URL.
        entities: Of BIDS, by their short names; empty where nobody knows.
        kept: Columns of a table that the user asked to keep.
        is_relative: Whether a table or list names it by a path that begins at its own folder.
        collides_with: What else would be the same image of the same subject, as the user calls it:
            none of them is converted.
    """

    subject: str
    image: str
    kind: Kind = "intensity"
    source: str
    location: str
    entities: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, Any] = field(default_factory=dict)
    is_relative: bool = False
    collides_with: tuple[str, ...] = ()


def source_told(source: str) -> str:
    """What a message calls an input: the DICOM files at the top of a folder have no path below it.

    Args:
        source: Name of the input, or of one of its files.
    """
    return "the source itself" if source == "." else printable(source.removesuffix("/."))


def stem(path: str | os.PathLike[str]) -> str:
    """A path without its suffix, double ones too; folders of DICOM files have none."""
    text = os.fspath(path)
    return text[: len(text) - len(suffix_of(text))] or text
