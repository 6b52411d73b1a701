"""Saving through SimpleITK, which needs all voxels at once, in a process of its own where it must.

On a full disk HDF5 and MINC end the process that writes (SIGABRT, SIGSEGV), libjpeg exits, PNG
raises what says nothing, and BMP is cut short without a word. So the first three are written by a
child, and after a failure the disk is asked whether it would have taken the file.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.core.memory import require
from voxarray.geometry.lps import itk_from_ras
from voxarray.geometry.selection import Selection
from voxarray.source.base import Source
from voxarray.storage.raw_voxels import as_bytes

_ENDING = ("HDF5ImageIO", "MINCImageIO", "JPEGImageIO")
"""Writers that may end the process."""

_BESIDE_VOXELS = 64 << 10
"""Bytes of headers and indexes, for the question whether a file would have fitted."""

# SimpleITK and the standard library only: nothing of ours needs to be found by the child.
_CHILD = """
import json, sys
import numpy, SimpleITK
task = json.loads(sys.stdin.buffer.readline())
array = numpy.empty(task["shape"], task["dtype"])
view = memoryview(array.reshape(-1).view("u1"))
while len(view):
    count = sys.stdin.buffer.readinto(view)
    if not count:
        sys.exit(3)
    view = view[count:]
image = SimpleITK.GetImageFromArray(array, isVector=task["is_vector"])
del array
for name in ("Spacing", "Origin", "Direction"):
    if task[name.lower()]:
        getattr(image, "Set" + name)(task[name.lower()])
try:
    SimpleITK.WriteImage(image, task["path"], imageIO=task["writer"])
except RuntimeError as error:
    print(str(error).strip().splitlines()[-1])
    sys.exit(2)
"""


@dataclass(frozen=True, slots=True)
class ItkImage:
    """An array and its geometry, as ITK takes them.

    Attributes:
        voxels: (D, H, W), (H, W), or one of them with components as the last axis; C-contiguous.
        is_vector: Whether the last axis is components.
        spacing: Per axis, x first; empty for ITK's defaults, as the others.
        origin: LPS.
        direction: Row by row.
    """

    voxels: NDArray
    is_vector: bool
    spacing: tuple[float, ...] = ()
    origin: tuple[float, ...] = ()
    direction: tuple[float, ...] = ()


def projected_peak(source: Source) -> int:
    """Bytes that saving needs at its peak: the voxels, ITK's copy, and what its writer makes."""
    return 3 * math.prod(source.shape) * source.dtype.itemsize + source.reading_bytes


def read_whole(source: Source) -> NDArray:
    """All voxels, in a type that ITK has, if they fit the budget."""
    require(
        projected_peak(source),
        "saving through SimpleITK",
        "save it as .nrrd or .nii, which is streamed",
    )
    voxels = source.read(Selection.whole(source.shape))
    return voxels.astype(np.uint8) if voxels.dtype == np.bool_ else voxels


def image_of(voxels: NDArray, affine: NDArray[np.float64]) -> ItkImage:
    """An image of an array (D, H, W, C) or (H, W, C)."""
    plain = without_geometry(voxels)
    count = voxels.ndim - 1
    spacing, origin, direction = itk_from_ras(affine)
    axes = np.reshape(direction, (3, 3))[:count, :count]
    return ItkImage(
        plain.voxels,
        plain.is_vector,
        tuple(map(float, spacing[:count])),
        tuple(map(float, origin[:count])),
        tuple(axes.ravel().tolist()),
    )


def without_geometry(voxels: NDArray) -> ItkImage:
    """An image of an array (D, H, W, C) or (H, W, C), placed as ITK places those without a word."""
    is_vector = voxels.shape[-1] > 1
    return ItkImage(np.ascontiguousarray(voxels if is_vector else voxels[..., 0]), is_vector)


def write_image(image: ItkImage, path: str, writer: str) -> None:
    """Write an image with one of ITK's writers.

    Raises:
        OSError: The disk would not take so many bytes.
        UnsupportedError: ITK does not write it for another reason (``NOT_WRITTEN``).
    """
    failure = (_written_by_child if writer in _ENDING else _written_here)(image, path, writer)
    if failure is None:
        return
    with suppress(FileNotFoundError):
        os.remove(path)  # what it takes up is free for the question
    require_room(path, image.voxels.nbytes + _BESIDE_VOXELS)
    raise UnsupportedError(
        f"ITK cannot write this image: {failure}; save it as .nrrd or .nii instead",
        code="NOT_WRITTEN",
    )


def require_room(path: str, size: int) -> None:
    """Ask the disk whether it would take a file of some size; nothing stays.

    Raises:
        OSError: It would not: no space, a quota, a limit of the process.
    """
    probe = f"{path}.room"
    try:
        with open(probe, "xb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
    finally:
        with suppress(FileNotFoundError):
            os.remove(probe)


def _written_here(image: ItkImage, path: str, writer: str) -> str | None:
    import SimpleITK

    itk_image = SimpleITK.GetImageFromArray(image.voxels, isVector=image.is_vector)
    for name in ("Spacing", "Origin", "Direction"):
        values = getattr(image, name.lower())
        if values:
            getattr(itk_image, f"Set{name}")(values)
    try:
        SimpleITK.WriteImage(itk_image, path, imageIO=writer)
    except RuntimeError as error:
        return str(error).strip().splitlines()[-1]
    return None


def _written_by_child(image: ItkImage, path: str, writer: str) -> str | None:
    """What went wrong, or None."""
    facts = {name: value for name, value in asdict(_described(image)).items() if name != "voxels"}
    task = {
        **facts,
        "shape": image.voxels.shape,
        "dtype": image.voxels.dtype.str,
        "path": os.path.abspath(path),
        "writer": writer,
    }
    search = os.pathsep.join(entry for entry in sys.path if entry)
    child = subprocess.Popen(  # noqa: S603  # this interpreter, with a program of ours
        [sys.executable, "-c", _CHILD],
        env={**os.environ, "PYTHONPATH": search},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdin is not None  # noqa: S101  # a pipe was asked for
    assert child.stdout is not None  # noqa: S101
    with child:
        try:
            with suppress(BrokenPipeError):  # it has ended: its code says why
                child.stdin.write(json.dumps(task).encode() + b"\n")
                child.stdin.write(as_bytes(image.voxels))
            with suppress(BrokenPipeError):
                child.stdin.close()
            failure = child.stdout.read().decode(errors="replace").strip()
        except BaseException:
            child.kill()
            raise
    if child.returncode == 0:
        return None
    return (
        failure or f"the process that writes the file ended with the exit status {child.returncode}"
    )


def _described(image: ItkImage) -> ItkImage:
    """The image without its voxels, which go another way."""
    nothing = np.empty(0, np.uint8)
    return ItkImage(nothing, image.is_vector, image.spacing, image.origin, image.direction)
