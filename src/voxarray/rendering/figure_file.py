"""Figures as files: whole or not at all, and what the disk refuses by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from voxarray.storage.atomic_write import atomic_writes


def save_figure(
    figure: Any, path: str | os.PathLike[str], options: Mapping[str, Any] | None = None
) -> None:
    """Write a figure of matplotlib, in place of a file that is there.

    Args:
        figure: ``matplotlib.figure.Figure``.
        path: Whose suffix says the format; without one it gets that of matplotlib's default.
        options: For ``Figure.savefig``.

    Raises:
        ArchiveError: What the disk refuses (``NO_SPACE`` or ``IO_ERROR``).
        ValueError: If matplotlib writes no such format.
    """
    name = os.fspath(path)
    if not os.path.splitext(name)[1].strip("."):
        # As matplotlib does, which would name the file beside its place otherwise.
        form = (options or {}).get("format") or figure.canvas.get_default_filetype()
        name = f"{name.rstrip('.')}.{form}"
    with atomic_writes(name, overwrite=True) as (partial,):
        figure.savefig(partial, **(options or {}))
