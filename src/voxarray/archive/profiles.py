"""Which codec an image gets: a profile offers a few, and a small trial on its voxels chooses.

The trial compares sizes, never times: the same voxels make the same archive, whatever the machine,
its threads and its load. It looks at a few pieces of the first row of chunks that holds any signal,
which streams as well as files read by place can afford.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.archive.codecs import RAW, Codec, is_background
from voxarray.core.errors import UnsupportedError
from voxarray.geometry.layout import DEFAULT_CHUNK, Index4, Layout

Region = tuple[range, range, range, range]

_PIECE_BYTES = 1 << 17, 1 << 18
"""Of a chunk, at least and at most so much is tried: a block of the codecs, where that is between.
A trial of twice as much takes a tenth of a conversion, and chooses the same.
"""

_LEAST_PIECE = 1 << 14
_WHOLE = 64
"""Voxels by which pieces are counted: what is no multiple of 8 cannot be shuffled by bits."""

_SHARE = 8
"""Of a small image an eighth is tried, or three trials would take longer than the encoding."""

_PIECES = 4

_GAIN = 20
"""A codec further down the list must save a twentieth of the size: it takes longer to decode."""

_QUICK = "lz4"
_WORTH = 8, 9
"""Nine bytes of lz4 are worth eight of zstd, which take about 2.5 times as long to decode. It is a
fixed price: what a trial measured of time would make other bytes on another day.
"""

_EVIDENCE = 1 << 12
"""Encoded bytes below which the pieces say too little of the image."""

_LONG = 4

_GOLDEN = 0x9E37_79B1  # of 2**32: multiples of it are spread evenly


@dataclass(frozen=True, slots=True)
class Profile:
    """A trade between size and speed.

    Attributes:
        wide: Codecs for voxels of several bytes; the first is the rule.
        narrow: Codecs for voxels of one byte.
        chunk: Edge of a chunk in voxels.
        long: Codecs for voxels of four bytes and more; those of ``wide`` if there are none.
    """

    wide: tuple[Codec, ...]
    narrow: tuple[Codec, ...]
    chunk: int = DEFAULT_CHUNK
    long: tuple[Codec, ...] = ()

    def candidates(self, dtype: np.dtype) -> tuple[Codec, ...]:
        """Codecs for voxels of a type; those that decode fastest come first."""
        if dtype.itemsize == 1:
            return self.narrow
        return self.long if self.long and dtype.itemsize >= _LONG else self.wide


def _filtered(cname: str, level: int, block: int, shuffles: str) -> tuple[Codec, ...]:
    return tuple(Codec(cname, level, shuffle, block) for shuffle in shuffles.split())


_QUICKEST = _filtered("lz4", 5, 1 << 16, "bitshuffle")
"""Of noise in the lower bits no codec saves much: then this is taken."""

PROFILES = {
    # Zstd begins anew in each block, which takes a third of the time of one of 64 KiB. Of larger
    # ones a box decodes more that it does not need.
    "default": Profile(
        (*_filtered("zstd", 1, 1 << 17, "shuffle noshuffle bitshuffle"), *_QUICKEST),
        # Of bytes, zstd after bitshuffle takes two and three times as long, and saves a hundredth.
        _filtered("zstd", 1, 1 << 17, "noshuffle"),
        # A table of symbols serves 128 KiB: here those of one byte of the voxels, and of no other.
        long=(
            *_filtered("zstd", 1, 1 << 17, "shuffle"),
            *_filtered("zstd", 1, 1 << 19, "shuffle"),
            *_filtered("zstd", 1, 1 << 17, "noshuffle bitshuffle"),
            *_QUICKEST,
        ),
    ),
    "compact": Profile(
        _filtered("zstd", 7, 1 << 20, "shuffle noshuffle bitshuffle"),
        _filtered("zstd", 7, 1 << 20, "noshuffle bitshuffle"),
        chunk=128,
    ),
    "fast": Profile(
        _filtered("lz4", 5, 1 << 16, "shuffle noshuffle bitshuffle"),
        _filtered("lz4", 5, 1 << 16, "noshuffle"),
    ),
    "labels": Profile(
        _filtered("zstd", 5, 1 << 18, "shuffle noshuffle bitshuffle"),
        _filtered("zstd", 5, 1 << 18, "noshuffle bitshuffle"),
    ),
    "training": Profile(
        _filtered("lz4hc", 9, 0, "shuffle noshuffle"),
        _filtered("lz4hc", 9, 0, "noshuffle"),
        chunk=32,
    ),
    "raw": Profile((RAW,), (RAW,)),
}
"""Named trade-offs; measured in ``benchmarks/archive_codecs.py``."""


def profile(name: str) -> Profile:
    """The profile of a name.

    Raises:
        UnsupportedError: For an unknown name; code ``UNKNOWN_CODEC``.
    """
    if name not in PROFILES:
        raise UnsupportedError(
            f"unknown codec profile {name!r}, expected one of {sorted(PROFILES)}",
            code="UNKNOWN_CODEC",
        )
    return PROFILES[name]


@dataclass(frozen=True, slots=True)
class Trial:
    """Chooses among the codecs of a profile.

    Attributes:
        candidates: The codecs; the first is taken where nothing speaks for another.
        layout: Of the finest level.
        dtype: Stored type.
        convert: Makes stored voxels of those of the source.
    """

    candidates: tuple[Codec, ...]
    layout: Layout
    dtype: np.dtype
    convert: Callable[[NDArray], NDArray]

    def choose(self, box: Region, read: Callable[[Region], NDArray]) -> Codec | None:
        """The codec for an image whose first signal lies in a box; None if there is none in it.

        Memory: some chunks, and twice a piece of one.

        Args:
            box: Begins and ends at chunk borders.
            read: Gives voxels (n, z, y, x) of the source, of chunks in the box.
        """
        if len(self.candidates) == 1:
            return self.candidates[0]
        pieces = self._pieces(box, read)
        if not pieces:
            return None
        best, least = self.candidates[0], self._size(self.candidates[0], pieces)
        if least < _EVIDENCE:
            return best
        for codec in self.candidates[1:]:
            size = self._size(codec, pieces)
            if codec.cname == _QUICK != best.cname:
                is_better = size * _WORTH[0] < least * _WORTH[1]
            else:
                is_better = size < least - least // _GAIN
            if is_better:
                best, least = codec, size
        return best

    def _pieces(self, box: Region, read: Callable[[Region], NDArray]) -> list[NDArray]:
        """From the middle of chunks that hold signal, as they would be encoded."""
        edges = self.layout.chunk
        spans = [range(r.start // c, -(-r.stop // c)) for r, c in zip(box, edges, strict=True)]
        chunks: list[Index4] = list(itertools.product(*spans))  # type: ignore[arg-type]  # four
        regions = [self.layout.region(chunk) for chunk in chunks]
        # What fills up chunks at the far ends says nothing of the voxels.
        spread = sorted(
            range(len(chunks)),
            key=lambda i: (tuple(map(len, regions[i])) != edges, i * _GOLDEN % (1 << 32)),
        )
        pieces: list[NDArray] = []
        for number in spread:
            chunk = self._chunk(read(regions[number]))
            if not is_background(chunk):
                pieces.append(self._middle(chunk))
            if len(pieces) == _PIECES:
                break
        return pieces

    def _chunk(self, block: NDArray) -> NDArray:
        voxels = self.convert(block)
        if voxels.shape == self.layout.chunk and voxels.dtype == self.dtype:
            return np.ascontiguousarray(voxels).reshape(-1)
        chunk = np.zeros(self.layout.chunk, self.dtype)
        chunk[tuple(slice(0, n) for n in block.shape)] = voxels
        return chunk.reshape(-1)

    def _middle(self, chunk: NDArray) -> NDArray:
        share = math.prod(self.layout.shape) * chunk.itemsize // _SHARE
        least, most = _PIECE_BYTES
        piece = min(most, max(least, *(codec.block for codec in self.candidates)))
        count = min(piece, max(_LEAST_PIECE, share)) // chunk.itemsize
        count -= count % _WHOLE
        start = max(0, chunk.size - count) // 2
        return chunk[start : start + count].copy()

    @staticmethod
    def _size(codec: Codec, pieces: list[NDArray]) -> int:
        return sum(codec.encoded_size(piece) for piece in pieces)
