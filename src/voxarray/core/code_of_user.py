"""Which line of the user's own code an error comes from."""

from __future__ import annotations

import os
import sysconfig
import traceback
from functools import cache
from pathlib import Path
from types import FrameType

_INSTALLED = {"site-packages", "dist-packages"}


def place_of_user(error: BaseException) -> str | None:
    """File and line of the innermost frame of an error that is neither ours nor of a library.

    Cells of notebooks, and lines typed into Python (``<stdin>``), are the user's, too.

    Args:
        error: As it was caught: only frames below the place that caught it are looked at.
    """
    for frame, line in reversed([*traceback.walk_tb(error.__traceback__)]):
        if _is_of_user(frame):
            return f"{os.path.basename(frame.f_code.co_filename)}, line {line}"
    return None


def _is_of_user(frame: FrameType) -> bool:
    # Generated code, such as that of dataclasses, is called <string>; its module has a file.
    filename = frame.f_globals.get("__file__") or frame.f_code.co_filename
    if filename.startswith("<"):
        return not filename.startswith("<frozen ")
    path = Path(os.path.abspath(filename))
    if not _INSTALLED.isdisjoint(path.parts):
        return False
    return not any(path.is_relative_to(folder) for folder in _folders_of_libraries())


@cache
def _folders_of_libraries() -> tuple[Path, ...]:
    """Folders of voxarray and of Python's own modules, as frames name them."""
    standard = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    return (Path(__file__).parents[1], *(Path(os.path.abspath(folder)) for folder in standard))
