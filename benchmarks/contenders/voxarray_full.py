"""voxarray with every setting at its default: pyramid, checksums, verification, manifest."""

from __future__ import annotations

from voxarray.archive.convert import convert
from voxarray.formats.registry import open_source


def run(source: str, destination: str) -> None:
    convert(open_source(source), destination)
