"""Saving an archive."""

from __future__ import annotations

from voxarray.archive.convert import convert
from voxarray.archive.options import Options
from voxarray.formats.record import SaveRequest


def save(request: SaveRequest) -> None:
    """Save an archive as it is asked for."""
    options = Options(
        levels=request.levels,
        chunk=request.chunks,
        codec=request.codec,
        overwrite=request.overwrite,
    )
    convert(
        request.source,
        request.path,
        kind="label" if request.label else "intensity",
        table=request.source.label_table if request.label else (),
        options=options,
        progress=request.progress,
        facts=request.facts,
    )
