"""`Image.show`: an external program that opens the image."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from voxarray.core.errors import StateError
from voxarray.core.keys import LABEL
from voxarray.saving import save

if TYPE_CHECKING:
    from voxarray.source.drawable import Drawable

VARIABLE = "SITK_SHOW_COMMAND"
"""What SimpleITK calls it: a program, perhaps with arguments; ``%f`` is where the file goes."""


def show(image: Drawable, viewer_path: str | os.PathLike[str] | None = None) -> None:
    """Open an image in a viewer, and return while it is open.

    A viewer is given the image's own NIfTI file if it shows all of that, unchanged; else what it
    shows is written to a file in the system's folder for temporary ones, where it stays.

    Args:
        image: What to show.
        viewer_path: The program; by default what `VARIABLE` says in the environment, else ITK-SNAP
            or 3D Slicer, if one of them is found.

    Raises:
        StateError: If there is no such program (code ``NO_VIEWER``); nothing was read then. It is
            a RuntimeError, too.
    """
    command = _command(viewer_path)
    file = _own_file(image) or _written(image)
    placed = [part.replace("%f", file) for part in command]
    # A session of its own: closing the notebook or pressing Ctrl-C does not close the viewer.
    subprocess.Popen(  # noqa: S603  # the user's own choice of program
        placed if placed != command else [*command, file], start_new_session=True
    )


def _command(viewer_path: str | os.PathLike[str] | None) -> list[str]:
    configured = os.environ.get(VARIABLE, "")
    if viewer_path is not None:
        command = [os.path.expanduser(os.fspath(viewer_path))]
    elif configured:
        # A path with blanks is one program; otherwise what follows the blanks are arguments.
        command = [configured] if os.path.exists(configured) else shlex.split(configured)
    else:
        command = [str(path) for path in _guesses()][:1]
    if not command or shutil.which(command[0]) is None:
        tried = f"{command[0]!r} is not a program" if command else "neither ITK-SNAP nor 3D Slicer"
        raise StateError(
            f"No external viewer has been found: {tried}. Please set the environment variable "
            f"{VARIABLE} to a viewer of your choice, or give viewer_path",
            code="NO_VIEWER",
        )
    return command


def _guesses() -> Iterator[Path]:
    """Where ITK-SNAP and 3D Slicer are installed, as their installers do it."""
    if sys.platform == "darwin":
        programs = Path("/Applications")
        candidates = [
            programs / "ITK-SNAP.app/Contents/MacOS/ITK-SNAP",
            programs / "Slicer.app/Contents/MacOS/Slicer",
        ]
        yield from (path for path in candidates if path.is_file())
    elif sys.platform == "win32":
        programs = Path(os.environ.get("PROGRAMFILES", "C:/Program Files"))
        yield from sorted(programs.glob("ITK-SNAP*/bin/itk-snap.exe"), reverse=True)
        yield from sorted(programs.glob("Slicer*/slicer.exe"), reverse=True)
    else:
        located = (shutil.which(name) for name in ("itksnap", "itk-snap", "Slicer"))
        yield from (Path(path) for path in located if path)


def _own_file(image: Drawable) -> str | None:
    """The NIfTI file that an image shows as it is; None if a viewer would show something else."""
    sliced = image.source
    # A slice, another affine and a loaded tensor have no header of their own.
    path = sliced.path if sliced.nifti_header is not None else None
    is_nifti = path is not None and path.lower().endswith((".nii", ".nii.gz"))
    return path if is_nifti else None


def _written(image: Drawable) -> str:
    name = image["stem"] if isinstance(image["stem"], str) and image["stem"] else "image"
    path = os.path.join(tempfile.mkdtemp(prefix="voxarray-"), f"{name}.nii")
    save(image.source, path, label=image.type == LABEL, overwrite=True)
    return path
