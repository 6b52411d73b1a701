"""The codec of an image: a profile offers a few, and a small trial on the voxels chooses.

The trial compares sizes, never times, so that the same voxels make the same archive on any machine
under any load. It encodes a few pieces from the first row of chunks that holds any signal, since a
stream cannot look further ahead.
"""

from __future__ import annotations

import heapq
import itertools
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.archive.codecs import RAW, Codec, bits_of, is_background
from voxarray.core.errors import UnsupportedError
from voxarray.geometry.layout import DEFAULT_CHUNK, Index4, Layout
from voxarray.storage.buffers import copy_rows

Region = tuple[range, range, range, range]

_PIECE_BYTES = 1 << 17, 1 << 18
"""Least and most bytes of a chunk that are tried; between these, one block of the codecs. A trial
with twice as much takes a tenth of the time of a conversion, and chooses the same.
"""

_LEAST_PIECE = 1 << 14
_WHOLE = 64
"""Pieces have a multiple of so many voxels: bitshuffle needs a multiple of 8."""

_SHARE = 8
"""At most an eighth of an image is tried: else the trials of a small one outlast its encoding."""

_PIECES = 4

_LOOKED_THROUGH, _FULL = 16, 8
"""Of so many pieces that hold signal, the fuller half is full; every second of these is tried. The
first row of chunks often holds the tip of a head, most of it air, where zstd gains more than in the
rest of the image. In the fullest pieces of all, it gains less than in the image with its edges.
"""

_GAIN = 19, 20
"""A later codec of the list must save a twentieth of the size, since it takes longer to decode."""

_LIMITS = {"lz4": (9, 8), "lz4hc": (5, 4)}
"""How many times the bytes of zstd another compressor may need to be chosen, since it decodes
faster: lz4 with bitshuffle about 1.2 to 2 times as fast, lz4hc with shuffle about 2.5 times. The
limits are fixed, since measured times would make other archives on another day.
"""

_HOPELESS = 9, 8
"""How far a codec may exceed its limit on the largest piece, to be tried on the others, too."""

_EVIDENCE = 1 << 12
"""Encoded bytes below which a trial says too little about the image."""

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
"""Noise in the lower bits hardly compresses with any codec: then the fastest is taken."""

_BALANCED = _filtered("lz4hc", 1, 1 << 16, "shuffle")
"""Most scans have 12 bits in 16: the upper bytes repeat, and the lower bytes hardly compress. The
first level of lz4hc finds nearly as much there as zstd, and encodes at 0.6 to 0.8 of its speed.
"""

PROFILES = {
    # Zstd starts afresh in each block, which takes a third of the time that a block of 64 KiB
    # needs. With larger blocks, a box decodes more bytes that it does not need.
    "default": Profile(
        (*_filtered("zstd", 1, 1 << 17, "shuffle noshuffle bitshuffle"), *_QUICKEST, *_BALANCED),
        # For 8-bit voxels, bitshuffle makes zstd two to three times as slow, and saves 1 %.
        _filtered("zstd", 1, 1 << 17, "noshuffle"),
        # A table of symbols covers 128 KiB. With blocks of 512 KiB, shuffled into 4 planes of
        # bytes, each table covers one plane.
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
        candidates: The codecs; the first is taken unless another is better.
        layout: Of the finest level.
        dtype: Stored type.
        convert: Turns voxels of the source into stored voxels.
    """

    candidates: tuple[Codec, ...]
    layout: Layout
    dtype: np.dtype
    convert: Callable[[NDArray], NDArray]

    def choose(self, box: Region, read: Callable[[Region], NDArray]) -> Codec | None:
        """The codec for an image whose first signal lies in a box; None if the box has no signal.

        Memory: some chunks, and twice a piece of one.

        Args:
            box: Begins and ends at chunk borders.
            read: Gives voxels (n, z, y, x) of the source, of chunks in the box.
        """
        if len(self.candidates) == 1:
            return self.candidates[0]
        is_one_chunk = all(map(operator.le, self.layout.shape, self.layout.chunk))
        pieces = self._only_piece(box, read) if is_one_chunk else self._pieces(box, read)
        if not pieces:
            return None
        best = self.candidates[0]
        sizes = [best.encoded_size(piece) for piece in pieces]
        if sum(sizes) < _EVIDENCE:
            return best
        # The piece with the most signal first: it says most about the sum.
        order = sorted(range(len(pieces)), key=lambda i: -sizes[i])
        pieces, sizes = [pieces[i] for i in order], [sizes[i] for i in order]
        for codec in self.candidates[1:]:
            limit = _GAIN if best.cname != "zstd" else _LIMITS.get(codec.cname, _GAIN)
            smaller = _sizes_within(limit, sizes, codec, pieces)
            if smaller is not None:
                best, sizes = codec, smaller
        return best

    def _only_piece(self, box: Region, read: Callable[[Region], NDArray]) -> list[NDArray]:
        """As `_pieces` of an image of one chunk, of which there is nothing to choose."""
        chunk = self._chunk(read(box), np.empty(self.layout.chunk, self.dtype))
        return [] if is_background(chunk) else [self._middle(chunk)]

    def _pieces(self, box: Region, read: Callable[[Region], NDArray]) -> list[NDArray]:
        """Pieces from the middle of full chunks, as they would be encoded."""
        edges = self.layout.chunk
        spans = [range(r.start // c, -(-r.stop // c)) for r, c in zip(box, edges, strict=True)]
        chunks: list[Index4] = list(itertools.product(*spans))  # type: ignore[arg-type]  # four
        regions = [self.layout.region(chunk) for chunk in chunks]
        # Full chunks first: those at the far ends are padded, which says nothing about the image.
        scattered = sorted(
            range(len(chunks)),
            key=lambda i: (tuple(map(len, regions[i])) != edges, i * _GOLDEN % (1 << 32)),
        )
        fullest: list[tuple[int, int, NDArray]] = []  # voxels that vary, order, piece
        found = 0
        memory = np.empty(edges, self.dtype)
        for number in scattered:
            chunk = self._chunk(read(regions[number]), memory)
            if is_background(chunk):
                continue
            found += 1
            piece = self._middle(chunk)
            heapq.heappush(fullest, (int(np.count_nonzero(piece[1:] != piece[:-1])), -found, piece))
            if len(fullest) > _FULL:
                heapq.heappop(fullest)
            if found == _LOOKED_THROUGH:
                break
        fuller = sorted(fullest, key=lambda entry: entry[:2], reverse=True)
        fuller = fuller[: max(_PIECES, found // 2)]
        tried = fuller[:: max(1, len(fuller) // _PIECES)][:_PIECES]
        return [piece for _, _, piece in sorted(tried, key=lambda entry: -entry[1])]

    def _chunk(self, block: NDArray, memory: NDArray) -> NDArray:
        """The voxels of a chunk, one after the other; those of a part of a volume in ``memory``."""
        voxels = self.convert(block)
        is_whole = voxels.shape == self.layout.chunk
        if is_whole and voxels.dtype == self.dtype and voxels.flags.c_contiguous:
            return voxels.reshape(-1)
        if not is_whole:
            memory[...] = 0
        copy_rows(memory[tuple(slice(0, n) for n in block.shape)], voxels)
        return memory.reshape(-1)

    def _middle(self, chunk: NDArray) -> NDArray:
        """A piece from the middle of the planes that hold signal: a head may begin at any plane."""
        fair_share = math.prod(self.layout.shape) * chunk.itemsize // _SHARE
        smallest, largest = _PIECE_BYTES
        piece = min(largest, max(smallest, *(codec.block for codec in self.candidates)))
        count = min(piece, max(_LEAST_PIECE, fair_share)) // chunk.itemsize
        count -= count % _WHOLE
        plane = math.prod(self.layout.chunk[-2:])
        # By bits: -0.0 is no background.
        bits = bits_of(chunk) if plane * chunk.itemsize % 8 == 0 else chunk.view(np.uint8)
        with_signal = np.flatnonzero(bits.reshape(chunk.size // plane, -1).max(axis=1))
        middle = int(with_signal[0] + with_signal[-1] + 1) * plane // 2
        start = max(0, min(middle - count // 2, chunk.size - count))
        return chunk[start : start + count].copy()


def _sizes_within(
    limit: tuple[int, int], sizes: list[int], codec: Codec, pieces: list[NDArray]
) -> list[int] | None:
    """Encoded sizes of the pieces; None if they exceed a limit.

    Args:
        limit: Numerator and denominator of the share of ``sizes`` below which they must stay.
        sizes: Of the pieces with another codec.
        codec: Encodes them.
        pieces: Parts of chunks.
    """
    times, parts = limit
    first = codec.encoded_size(pieces[0])
    if first * parts * _HOPELESS[1] > sizes[0] * times * _HOPELESS[0]:
        return None
    own = [first, *(codec.encoded_size(piece) for piece in pieces[1:])]
    return own if sum(own) * parts < sum(sizes) * times else None
