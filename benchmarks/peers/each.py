"""Opens archives one after another in one process: importing some libraries takes seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np


def each(opened: Callable[[str, str], None]) -> None:
    """Call it with each archive and the ``.npz`` to write, as the command line lists them in turns.

    What it raises is written in place of what it found.
    """
    for archive, output in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        try:
            opened(archive, output)
        except Exception as error:  # a finding, whatever it is
            np.savez(output, failure=np.array(f"{type(error).__name__}: {error}"))


def coarser(levels: list) -> dict[str, np.ndarray]:
    """Voxels of the levels below the first, under the names they are compared by."""
    return {f"level {i}": np.asarray(level) for i, level in enumerate(levels) if i}
