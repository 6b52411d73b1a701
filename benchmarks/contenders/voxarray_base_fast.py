"""voxarray, base level alone, by the profile ``fast``."""

from __future__ import annotations

from voxarray.archive.convert import convert
from voxarray.archive.options import Options
from voxarray.formats.registry import open_source


def run(source: str, destination: str) -> None:
    convert(open_source(source), destination, options=Options(levels=1, codec="fast"))
