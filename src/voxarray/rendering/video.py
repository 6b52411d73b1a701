"""MP4 and WebM, encoded frame by frame with PyAV, which brings its own codecs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from voxarray.core import settings
from voxarray.core.given_paths import path_text
from voxarray.core.optional import import_optional
from voxarray.rendering.frames import Frames, require_filmable
from voxarray.source.base import Source
from voxarray.statistics.histogram import extremes
from voxarray.storage.atomic_write import atomic_write

DEFAULT_RATE = 15
"""Frames per second where neither a rate nor a duration is asked for."""

_VERBOSITIES = ("quiet", "panic", "fatal", "error", "warning", "info", "verbose", "debug")


@dataclass(frozen=True, slots=True)
class Codec:
    """How a kind of file is encoded.

    Attributes:
        container: Name of the format in FFmpeg.
        encoder: Name of the encoder in FFmpeg.
        options: Of the encoder: a quality at which slices of a scan look as they are, and few
            frames that it looks ahead, for it holds them all.
    """

    container: str
    encoder: str
    options: Mapping[str, str]


CODECS = {
    ".mp4": Codec("mp4", "libx264", {"crf": "18", "preset": "faster", "rc-lookahead": "10"}),
    ".webm": Codec(
        "webm",
        "libvpx-vp9",
        {"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "8", "row-mt": "1"},
    ),
}
"""By suffix; browsers play both."""


def write_video(
    source: Source,
    path: str | os.PathLike[str],
    *,
    frame_rate: float | None = DEFAULT_RATE,
    seconds: float | None = None,
    direction: str = "I",
    verbosity: str = "error",
    colours: Mapping[float, tuple[int, int, int]] | None = None,
) -> None:
    """Write all slices of a volume along a direction in the patient as a video.

    Memory is that of a few slices. Integers between 0 and 255 are grey levels as they are; all
    other intensities are stretched from black to white, for which they are read twice. An odd
    number of rows or columns, which the codecs refuse, is made even with a black line.

    Args:
        source: One channel, or three as colours.
        path: ``.mp4`` or ``.webm``; replaced if it exists.
        frame_rate: Slices per second; the default gives way to ``seconds``.
        seconds: Duration of the whole video.
        direction: Where the slices advance to: I, S, A, P, R or L.
        verbosity: Level of the codec's messages.
        colours: Colours of labels by value; None for intensities.

    Raises:
        MissingPackageError: If PyAV is not installed.
        ValueError: For other suffixes, directions and verbosities, and unless a rate or a duration
            is given.
        UnsupportedError: For other channels (``BAD_CHANNELS``).
    """
    av = import_optional("av", "voxarray[video]")
    codec = _codec(path)
    require_filmable(source)
    per_second = _rate(frame_rate, seconds)
    Frames.of(source, direction, (0.0, 255.0), colours).require_room()
    limits = (0.0, 255.0) if colours is not None else _limits(source)
    frames = Frames.of(source, direction, limits, colours)
    rate = per_second if seconds is None else len(frames) / Fraction(seconds)
    with _messages(av, verbosity), atomic_write(path, overwrite=True) as file:
        _encode(av, file, codec, frames, Fraction(rate).limit_denominator(1000))


def _encode(av: Any, file: BinaryIO, codec: Codec, frames: Frames, rate: Fraction) -> None:
    rows, columns = (n + n % 2 for n in frames.size)
    with av.open(file, "w", format=codec.container) as container:
        stream = container.add_stream(codec.encoder, rate=rate, options=dict(codec.options))
        stream.width, stream.height, stream.pix_fmt = columns, rows, "yuv420p"
        stream.codec_context.thread_count = settings.threads()
        for pixels in frames:
            kind = "gray" if pixels.ndim == 2 else "rgb24"
            frame = av.VideoFrame.from_ndarray(_even(pixels), format=kind)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _even(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = (n % 2 for n in pixels.shape[:2])
    return np.pad(pixels, [(0, rows), (0, columns), (0, 0)][: pixels.ndim])


def _codec(path: str | os.PathLike[str]) -> Codec:
    suffix = os.path.splitext(path_text(path))[1].lower()
    if suffix not in CODECS:
        raise ValueError(
            f"a video ends in {' or '.join(CODECS)}, and {path_text(path)!r} in {suffix!r}"
        )
    return CODECS[suffix]


def _rate(frame_rate: float | None, seconds: float | None) -> Fraction:
    if frame_rate is None and seconds is None:
        raise ValueError("Either seconds or frame_rate must be provided.")
    if seconds is not None and frame_rate not in (None, DEFAULT_RATE):
        raise ValueError("Provide either seconds or frame_rate, not both.")
    number = frame_rate if seconds is None else seconds
    if number is None or not 0 < number < float("inf"):
        raise ValueError(f"seconds and frame_rate are positive, not {number!r}")
    return Fraction(number)


def _limits(source: Source) -> tuple[float, float]:
    """Intensities that become black and white."""
    if source.dtype == np.uint8:
        return 0.0, 255.0
    low, high = extremes(source)
    is_grey = source.dtype.kind in "iu" and low >= 0 and high <= 255
    return (0.0, 255.0) if is_grey else (low, high)


@contextmanager
def _messages(av: Any, verbosity: str) -> Iterator[None]:
    """FFmpeg's messages at a level, for a while: the level is the whole process's."""
    if verbosity not in _VERBOSITIES:
        raise ValueError(f"verbosity is one of {', '.join(_VERBOSITIES)}, not {verbosity!r}")
    before = av.logging.get_level()
    av.logging.set_level(None if verbosity == "quiet" else getattr(av.logging, verbosity.upper()))
    try:
        yield
    finally:
        av.logging.set_level(before)
