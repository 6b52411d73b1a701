"""An image as one line of text, from its header alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxarray.core.errors import VoxarrayError
from voxarray.core.keys import DATA
from voxarray.core.memory import format_bytes
from voxarray.core.promotion import tensor_type
from voxarray.geometry.grid import millimetres
from voxarray.storage.remote.address import Address, is_url

if TYPE_CHECKING:
    from voxarray.image.image import Image


def describe(image: Image) -> str:
    """Text such as ``ScalarImage(shape: (1, 256, 256, 176); spacing: ...; path: "t1.nii.gz")``.

    If the image is a slice of what the file holds, or a transform changed it, the text says ``made
    from path``, since the file has another shape or other voxels.

    An image whose header cannot be read is described by its path and the error: a debugger must
    be able to show it.
    """
    try:
        facts = [*_geometry(image), *_voxels(image)]
    except (VoxarrayError, OSError) as error:
        reason = error.code if isinstance(error, VoxarrayError) else type(error).__name__
        facts = [_path(image), f"not readable: {reason}"]
    return f"{type(image).__name__}({'; '.join(facts)})"


def _geometry(image: Image) -> list[str]:
    spacing = ", ".join(map(millimetres, image.spacing))
    return [
        f"shape: {image.shape}",
        f"spacing: ({spacing})",
        f"orientation: {image.orientation_str}+",
    ]


def _voxels(image: Image) -> list[str]:
    if image.path is not None and not image.source.base.in_memory:
        return [f"made from {_path(image)}" if _is_changed(image) else _path(image)]
    return [f"memory: {format_bytes(image.memory)}", f"dtype: {_tensor_type(image)}"]


def _is_changed(image: Image) -> bool:
    """Whether it was sliced or transformed since its file was opened, so that its shape differs."""
    opened = image.source.base  # the file, or what a transform made of it
    steps_in_file = 0 if opened.path is None else len(opened.history)
    return len(image.history) > steps_in_file


def _tensor_type(image: Image) -> str:
    return image.data.type() if DATA in image else tensor_type(image.dtype)


def _path(image: Image) -> str:
    path = image.path
    if isinstance(path, list):
        return f"paths: [{', '.join(map(_quoted, path))}]"
    return f"path: {_quoted(path)}"


def _quoted(path: object) -> str:
    # The query of a signed URL is a secret, and descriptions end up in logs.
    return f'"{Address.parse(str(path)).shown if is_url(path) else path}"'
