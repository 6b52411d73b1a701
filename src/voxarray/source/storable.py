"""Images that no disk could hold: refused before anything of them is computed."""

from __future__ import annotations

import math

from voxarray.core.errors import UnsupportedError
from voxarray.core.memory import format_bytes
from voxarray.source.base import Source

LARGEST = 1 << 60
"""Bytes of voxels: an EiB. A mistaken size or spacing asks for more; no file system holds it."""


def is_storable(source: Source) -> bool:
    """Whether the voxels of a source could lie on any disk, were they computed."""
    return _bytes(source) <= LARGEST


def refuse_beyond_disks(source: Source) -> None:
    """Refuse to write or divide what no disk could hold; a part of it may still be taken.

    Raises:
        UnsupportedError: ``TOO_LARGE``.
    """
    if not is_storable(source):
        raise UnsupportedError(
            f"the image would have {' x '.join(map(str, source.shape))} voxels "
            f"({format_bytes(_bytes(source))}), and no disk holds more than "
            f"{format_bytes(LARGEST)}: look at the size or spacing (mm) that a transform was given "
            "(CropOrPad, Pad, Resample), or take a part of the image",
            code="TOO_LARGE",
            path=source.path,
        )


def _bytes(source: Source) -> int:
    return math.prod(source.shape) * source.dtype.itemsize
