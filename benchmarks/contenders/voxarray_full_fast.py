"""voxarray by the profile ``fast``: pyramid, checksums, verification and manifest as always."""

from __future__ import annotations

from voxarray.archive.convert import convert
from voxarray.archive.options import Options
from voxarray.formats.registry import open_source


def run(source: str, destination: str) -> None:
    convert(open_source(source), destination, options=Options(codec="fast"))
