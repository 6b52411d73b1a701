"""Saving an archive."""

from __future__ import annotations

import os

from voxarray.archive.convert import convert
from voxarray.archive.options import Options
from voxarray.core.progress import bar
from voxarray.formats.record import Request


def save(request: Request) -> None:
    """Save an archive as it is asked for; a bar shows how far it is, unless the caller is told."""
    options = Options(
        levels=request.levels,
        chunk=request.chunks,
        codec=request.codec,
        overwrite=request.overwrite,
    )
    with bar(os.path.basename(request.path)) as shown:
        convert(
            request.source,
            request.path,
            kind="label" if request.label else "intensity",
            options=options,
            progress=request.progress or shown,
        )
