"""Folders that may not be read, and may hold scans."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence

from voxarray.cohort.discover import bids
from voxarray.cohort.discover.globs import matches
from voxarray.core.errors import of_system
from voxarray.core.portable import may


def is_there(path: str) -> bool:
    """Whether a path exists; a broken link does, too.

    Raises:
        AccessDeniedError: A folder above it may not be entered.
    """
    try:
        os.lstat(path)
    except PermissionError as error:
        raise of_system(error, path) from error
    except OSError:
        return False
    return True


def not_ruled_out(folder: str, names: Sequence[str]) -> list[str]:
    """Those of ``names`` below a folder that may hold scans: all that BIDS does not leave out."""
    if not names or names == ["."] or not bids.is_dataset(folder):
        return list(names)
    ignored = bids.Ignored.of(folder)
    return [name for name in names if not bids.is_ruled_out(name, ignored)]


def closed_to(pattern: str) -> Iterator[str]:
    """Folders on the way of a pattern that may not be read, and that `glob` silently skips.

    Args:
        pattern: With ``*``, ``?``, ``[`` or ``**`` in it.
    """
    reported: set[str] = set()
    parts = pattern.split(os.sep)
    for count in range(1, len(parts)):
        above, below = os.sep.join(parts[:count]), parts[count]
        needed = os.X_OK | (os.R_OK if glob.has_magic(below) else 0)
        for folder in sorted(matches(f"{above}{os.sep}")):
            if folder not in reported and not may(folder, needed):
                reported.add(folder)
                yield folder.rstrip(os.sep)
