"""How a stored array is cut into chunks and shards, and how its pyramid shrinks.

Stored axes are (n, z, y, x): n is channel or time, and x runs fastest, as in a NIfTI file. A chunk
is what is compressed at once, a shard is a file of chunks. Everything that decides a chunk shape
is in this module.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from voxarray.core.error_messages import MAKE_AGAIN
from voxarray.core.errors import FormatError
from voxarray.geometry.selection import Shape4

Index4 = tuple[int, int, int, int]
Factors = tuple[int, int, int]

DEFAULT_CHUNK = 64
DEFAULT_SHARD_CHUNKS = 4
"""Chunks per shard along each axis: shards of 256^3 voxels."""

MAX_SLAB_BYTES = 48 << 20
"""One row of chunks across a plane is held in memory twice while it is converted."""

_MIN_DEPTH = 8
_SERIES_LIMIT = 4096  # volumes per chunk, so that a series of single voxels stays seekable


@dataclass(frozen=True, slots=True)
class Layout:
    """Shapes of a sharded array, all as (n, z, y, x).

    Attributes:
        shape: Voxels.
        chunk: Voxels per chunk; a chunk at the far end may reach beyond the array.
        shard: Voxels per shard, whole chunks.
        chunks_per_shard: Chunks along each axis of a shard.
    """

    shape: Shape4
    chunk: Shape4
    shard: Shape4
    chunks_per_shard: Index4 = field(init=False, repr=False)  # asked for once per chunk read

    def __post_init__(self) -> None:
        positive = min(*self.shape, *self.chunk, *self.shard) > 0
        if not positive or any(s % c for s, c in zip(self.shard, self.chunk, strict=True)):
            raise FormatError(
                f"an array of {self.shape} voxels has shards of {self.shard} and chunks of "
                f"{self.chunk}: expected at least one voxel along each axis, and shards that are "
                f"whole multiples of chunks; restore the archive, or {MAKE_AGAIN}",
                code="BAD_LAYOUT",
            )
        object.__setattr__(self, "chunks_per_shard", _divide(self.shard, self.chunk))

    @property
    def chunk_counts(self) -> Index4:
        """Chunks along each axis of the array."""
        return _divide(self.shape, self.chunk)

    @property
    def shard_counts(self) -> Index4:
        """Shards along each axis of the array."""
        return _divide(self.shape, self.shard)

    def shards(self) -> Iterator[Index4]:
        """Positions of all shards."""
        return itertools.product(*(range(n) for n in self.shard_counts))  # type: ignore[return-value]

    def shard_of(self, chunk: Index4) -> Index4:
        """Position of the shard that holds a chunk."""
        n, z, y, x = chunk
        per_n, per_z, per_y, per_x = self.chunks_per_shard
        return n // per_n, z // per_z, y // per_y, x // per_x

    def slot(self, chunk: Index4) -> int:
        """Place of a chunk in the index of its shard."""
        n, z, y, x = chunk
        per_n, per_z, per_y, per_x = self.chunks_per_shard
        row = ((n % per_n) * per_z + z % per_z) * per_y + y % per_y
        return row * per_x + x % per_x

    def chunks_in(self, shard: Index4) -> int:
        """Number of chunks of a shard that hold voxels of the array."""
        (n, z, y, x), (per_n, per_z, per_y, per_x) = shard, self.chunks_per_shard
        all_n, all_z, all_y, all_x = self.chunk_counts
        volumes, planes = min(per_n, all_n - n * per_n), min(per_z, all_z - z * per_z)
        return volumes * planes * min(per_y, all_y - y * per_y) * min(per_x, all_x - x * per_x)

    def region(self, chunk: Index4) -> tuple[range, range, range, range]:
        """Voxels of the array that lie in a chunk."""
        n, z, y, x = chunk
        edge_n, edge_z, edge_y, edge_x = self.chunk
        size_n, size_z, size_y, size_x = self.shape
        # Without a loop over the axes, which would take four times as long: asked for each chunk.
        return (
            range(n * edge_n, min(n * edge_n + edge_n, size_n)),
            range(z * edge_z, min(z * edge_z + edge_z, size_z)),
            range(y * edge_y, min(y * edge_y + edge_y, size_y)),
            range(x * edge_x, min(x * edge_x + edge_x, size_x)),
        )

    @property
    def slab(self) -> tuple[int, int]:
        """Volumes and planes (n, z) that make one row of chunks, contiguous on disk."""
        return self.chunk[0], self.chunk[1]


def choose(
    shape: Shape4,
    itemsize: int,
    chunk: int = DEFAULT_CHUNK,
    shard_chunks: int = DEFAULT_SHARD_CHUNKS,
) -> Layout:
    """Layout of about ``chunk**3`` voxels per chunk, whatever the proportions of the volume.

    Chunks are cubes where they fit. Where an axis is shorter, the others grow by doubling, so
    that thin volumes and series of small volumes get chunks (and shards) of the same byte size.
    Planes so large that a row of chunks would exceed `MAX_SLAB_BYTES` get flatter chunks.

    Args:
        shape: (n, z, y, x).
        itemsize: Bytes per voxel.
        chunk: Edge of a cubic chunk, even, so that pyramid levels nest.
        shard_chunks: Edge of a cubic shard in chunks.
    """
    if isinstance(chunk, bool) or not hasattr(chunk, "__index__") or chunk < 2 or chunk % 2:
        raise FormatError(
            f"the chunk edge must be a whole number, even and at least 2, got {chunk!r:.80}",
            code="BAD_CHUNK",
        )
    return _chosen(_shape4(shape), int(itemsize), operator.index(chunk), shard_chunks)


@lru_cache(maxsize=256)  # planning and writing ask for the same, and so does the next of a cohort
def _chosen(shape: Shape4, itemsize: int, chunk: int, shard_chunks: int) -> Layout:
    n, z, y, x = shape
    depth = min(chunk, z)
    while depth > _MIN_DEPTH and depth * y * x * itemsize > MAX_SLAB_BYTES:
        depth = max(_MIN_DEPTH, depth // 4 * 2)
    sizes = [1, depth, min(chunk, y), min(chunk, x)]
    _grow(sizes, shape, (3, 2), chunk**3)
    if sizes[1:] == [z, y, x]:  # a chunk holds whole volumes: let it hold several
        sizes[0] = max(1, min(n, chunk**3 // (z * y * x), _SERIES_LIMIT))
    counts = [min(shard_chunks, -(-s // c)) for s, c in zip(shape, sizes, strict=True)]
    counts[0] = 1
    _grow(counts, _divide(shape, _shape4(sizes)), (3, 2, 1, 0), shard_chunks**3)
    return Layout(
        shape, _shape4(sizes), _shape4([s * c for s, c in zip(sizes, counts, strict=True)])
    )


def coarser(layout: Layout, factors: Factors) -> Layout:
    """Layout of the next pyramid level: the same chunks and shards, clipped to fewer voxels."""
    steps = (1, *factors)
    shape = [s // f for s, f in zip(layout.shape, steps, strict=True)]
    chunk = [min(c, s) for c, s in zip(layout.chunk, shape, strict=True)]
    shard = [
        min(p, -(-s // c)) * c
        for p, s, c in zip(layout.chunks_per_shard, shape, chunk, strict=True)
    ]
    return Layout(_shape4(shape), _shape4(chunk), _shape4(shard))


def pyramid_factors(
    shape: Shape4, spacing: Sequence[float], levels: int | None, chunk: int = DEFAULT_CHUNK
) -> list[Factors]:
    """Factors (z, y, x), each 1 or 2, from every level to the next.

    An axis is halved while its spacing is below twice the finest one, so that voxels become
    more cubic and never less; and while it has at least two voxels.

    Args:
        shape: (n, z, y, x) of the base level.
        spacing: mm along (z, y, x).
        levels: Number of levels including the base; None makes levels until one chunk edge
            holds the longest axis.
        chunk: Edge of a chunk.
    """
    sizes, steps = list(shape[1:]), list(spacing)
    per_level: list[Factors] = []
    while (max(sizes) > chunk) if levels is None else (len(per_level) + 1 < levels):
        finest = min((step for step, size in zip(steps, sizes, strict=True) if size > 1), default=0)
        factors = [
            2 if size > 1 and step < 2 * finest * (1 - 1e-6) else 1
            for size, step in zip(sizes, steps, strict=True)
        ]
        if factors == [1, 1, 1]:
            break
        sizes = [size // f for size, f in zip(sizes, factors, strict=True)]
        steps = [step * f for step, f in zip(steps, factors, strict=True)]
        per_level.append((factors[0], factors[1], factors[2]))
    return per_level


def _grow(sizes: list[int], limits: Sequence[int], axes: Sequence[int], target: int) -> None:
    """Double sizes along ``axes`` in turn while the product stays within ``target``."""
    grown = True
    while grown:
        grown = False
        for axis in axes:
            larger = min(2 * sizes[axis], limits[axis])
            if larger > sizes[axis] and math.prod(sizes) // sizes[axis] * larger <= target:
                sizes[axis], grown = larger, True


def _divide(sizes: Sequence[int], divisors: Sequence[int]) -> Index4:
    (n, z, y, x), (by_n, by_z, by_y, by_x) = sizes, divisors
    return -(-n // by_n), -(-z // by_z), -(-y // by_y), -(-x // by_x)


def _shape4(sizes: Sequence[int]) -> Shape4:
    n, z, y, x = (int(s) for s in sizes)
    return n, z, y, x


def chunk_bytes(layout: Layout, dtype: np.dtype) -> int:
    """Bytes of one decoded chunk."""
    return math.prod(layout.chunk) * dtype.itemsize
