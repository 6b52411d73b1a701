"""Animated GIF, written frame by frame.

Pillow compresses each frame; the frames are put together here, for Pillow would hold all of them
in memory until the last. The format is GIF89a (https://www.w3.org/Graphics/GIF/spec-gif89a.txt).
"""

from __future__ import annotations

import io
import itertools
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import UnsupportedError
from voxarray.core.optional import import_optional
from voxarray.rendering.frames import Frames, require_filmable
from voxarray.source.base import Source
from voxarray.statistics.histogram import extremes
from voxarray.storage.atomic_write import atomic_write

_SHORTEST = 0.01
"""Seconds: the format counts in hundredths."""

_LONGEST_SIDE = (1 << 16) - 1

_EXTENSION, _TRAILER = b"\x21", b"\x3b"
_HEADER_BYTES, _DESCRIPTOR_BYTES = 13, 10
_HAS_TABLE = 0x80


def write_gif(
    source: Source,
    path: str | os.PathLike[str],
    *,
    axis: int,
    duration: float,
    loop: int = 0,
    rescale: bool = True,
    optimize: bool = True,
    reverse: bool = False,
    colours: Mapping[float, tuple[int, int, int]] | None = None,
) -> None:
    """Write all slices of a volume along a voxel axis as an animation.

    Memory is that of a few slices. With ``rescale`` the voxels are read twice: their extremes must
    be known before the first frame.

    Args:
        source: One channel, or three as colours.
        path: Replaced if it exists.
        axis: 0, 1 or 2: W, H or D.
        duration: Seconds of the whole animation, to a hundredth.
        loop: How often it is played; 0 is for ever.
        rescale: Whether the extremes of the intensities become black and white.
        optimize: Leave colours that a frame does not use out of its table.
        reverse: Play the slices in reverse order.
        colours: Colours of labels by value; None for intensities.

    Warns:
        RuntimeWarning: If the frames are too many for the duration, which is longer then.

    Raises:
        MissingPackageError: If Pillow is not installed.
        ValueError: For another axis, or a duration that is not positive.
        UnsupportedError: For other channels (``BAD_CHANNELS``), and pictures beyond 65,535 pixels a
            side (``UNSUPPORTED_DIMS``).
        MemoryBudgetError: If a few slices exceed the budget; nothing was read.
    """
    import_optional("PIL.Image", "voxarray[plot]")
    if axis not in (0, 1, 2):
        raise ValueError(f"axis is 0, 1 or 2 (W, H or D), not {axis!r}")
    if not duration > 0:
        raise ValueError(f"the duration is a positive number of seconds, not {duration!r}")
    require_filmable(source)
    towards = source.grid.orientation[axis]
    direction = towards if not reverse else source.grid.flip((axis,)).orientation[axis]
    film = Frames.of(source, direction, (0.0, 255.0), colours)
    if max(film.size) > _LONGEST_SIDE:
        raise UnsupportedError(
            f"pictures of {film.size[1]} x {film.size[0]} pixels are more than the {_LONGEST_SIDE} "
            "a side that a GIF holds: take a part or a coarser level(n)",
            code="UNSUPPORTED_DIMS",
        )
    film.require_room()
    limits = extremes(source) if rescale and colours is None else film.limits
    frames = replace(film, limits=limits)
    delays = _delays(len(frames), duration)
    with atomic_write(path, overwrite=True) as file:
        file.write(b"GIF89a" + struct.pack("<HH3x", *reversed(frames.size)))
        file.write(b"\x21\xff\x0bNETSCAPE2.0" + struct.pack("<BBHx", 3, 1, loop))
        for delay, frame in zip(delays, frames, strict=True):
            file.write(b"\x21\xf9" + struct.pack("<BBHxx", 4, 0, delay))
            file.write(_image_block(frame, optimize=optimize))
        file.write(_TRAILER)


def _delays(number: int, duration: float) -> Iterator[int]:
    """Hundredths of a second per frame, which add up to the duration."""
    if duration / number < _SHORTEST:
        warn_caller(
            f"The computed frame rate from the given duration is too high ({number / duration:.0f} "
            "fps). The highest possible frame rate in the GIF file format specification is 100 "
            f"fps. The duration has been set to {number * _SHORTEST:.1f} seconds, instead of "
            f"{duration:.1f}",
            RuntimeWarning,
        )
        duration = number * _SHORTEST
    ends = [round(n * duration / number / _SHORTEST) for n in range(number + 1)]
    return (after - before for before, after in itertools.pairwise(ends))


def _image_block(frame: NDArray[np.uint8], *, optimize: bool) -> bytes:
    """A frame as an image descriptor, its own table of colours, and its compressed pixels."""
    buffer = io.BytesIO()
    # Its rows in their order: the descriptor that is made below says nothing else.
    _as_pillow(frame).save(buffer, "GIF", optimize=optimize, interlace=False)
    data = buffer.getvalue()
    flags = data[10]
    table = data[_HEADER_BYTES : _HEADER_BYTES + 3 * 2 ** ((flags & 7) + 1)]
    start = _after_extensions(data, _HEADER_BYTES + len(table))
    descriptor = data[start : start + _DESCRIPTOR_BYTES - 1] + bytes([_HAS_TABLE | flags & 7])
    return descriptor + table + data[start + _DESCRIPTOR_BYTES : -len(_TRAILER)]


def _after_extensions(data: bytes, start: int) -> int:
    """Where the image begins that follows zero or more extensions."""
    while data[start : start + 1] == _EXTENSION:
        start += 2
        while data[start]:  # blocks of up to 255 bytes, each after its length, until an empty one
            start += 1 + data[start]
        start += 1
    return start


def _as_pillow(frame: NDArray[np.uint8]) -> Any:
    """Grey as it is; colours by a table, exactly where there are no more than it holds."""
    from PIL import Image

    if frame.ndim == 2:
        return Image.fromarray(frame)
    packed = frame.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    values, inverse = np.unique(packed, return_inverse=True)
    if len(values) > 256:
        return Image.fromarray(frame)  # which Pillow reduces to the most suitable colours
    image = Image.fromarray(inverse.reshape(packed.shape).astype(np.uint8), "P")
    image.putpalette(values.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes())
    return image
