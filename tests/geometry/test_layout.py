"""Chunks and shards: of a stated size, nesting from level to level, covering every voxel once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxarray.core.errors import FormatError
from voxarray.geometry.layout import (
    MAX_SLAB_BYTES,
    Layout,
    choose,
    chunk_bytes,
    coarser,
    pyramid_factors,
)

SIZES = st.one_of(st.integers(1, 9), st.integers(1, 200))
SHAPES = st.tuples(SIZES, SIZES, SIZES, SIZES)
CHUNKS = st.sampled_from([16, 32, 64, 128])


@pytest.mark.parametrize(
    ("shape", "chunk", "shard"),
    [
        ((1, 512, 512, 512), (1, 64, 64, 64), (1, 256, 256, 256)),
        ((1, 176, 256, 256), (1, 64, 64, 64), (1, 192, 256, 256)),
        ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1)),
        ((300, 64, 64, 64), (1, 64, 64, 64), (64, 64, 64, 64)),
    ],
)
def test_shapes_that_are_promised(shape, chunk, shard):
    layout = choose(shape, 2)
    assert (layout.chunk, layout.shard) == (chunk, shard)


def test_thin_volumes_get_chunks_of_the_same_size():
    for shape in ((1, 4, 2000, 2000), (1, 2000, 2000, 4), (5000, 8, 8, 8)):
        assert 64**3 / 2 <= math.prod(choose(shape, 2).chunk) <= 64**3


def test_large_planes_get_flatter_chunks():
    layout = choose((1, 4000, 8192, 8192), 2)
    depth = layout.slab[1]
    assert depth < 64
    assert depth * 8192 * 8192 * 2 <= max(MAX_SLAB_BYTES, 8 * 8192 * 8192 * 2)


@settings(max_examples=40)
@given(SHAPES, CHUNKS, st.sampled_from([1, 2, 4, 8, 16]))
def test_any_layout_keeps_its_promises(shape, chunk, itemsize):
    layout = choose(shape, itemsize, chunk)
    assert math.prod(layout.chunk) <= chunk**3
    assert math.prod(layout.chunks_per_shard) <= 4**3
    assert all(c <= s for c, s in zip(layout.chunk, shape, strict=True))
    # A slab is whole planes of one volume, or whole volumes: what a stream can hand out.
    assert layout.chunk[0] == 1 or layout.chunk[1:] == shape[1:]
    # Borders of chunks are even, so that cells of the pyramid never cross them.
    for size, edge in zip(shape[1:], layout.chunk[1:], strict=True):
        assert edge % 2 == 0 or edge == size
    assert sum(layout.chunks_in(shard) for shard in layout.shards()) == math.prod(
        layout.chunk_counts
    )


@settings(max_examples=40)
@given(
    st.tuples(st.integers(1, 3), *[st.integers(1, 14)] * 3),
    st.sampled_from([2, 4, 6]),
    st.tuples(*[st.floats(0.3, 5)] * 3),
)
def test_levels_nest(shape, chunk, spacing):
    layout = choose(shape, 2, chunk)
    for factors in pyramid_factors(shape, spacing, 5, chunk):
        below = coarser(layout, factors)
        assert below.shape == (
            shape[0],
            *(s // f for s, f in zip(layout.shape[1:], factors, strict=True)),
        )
        for index in np.ndindex(*layout.chunk_counts):
            region = layout.region(index)
            halved = [
                range(r.start // f, r.stop // f) for r, f in zip(region, (1, *factors), strict=True)
            ]
            if all(halved):
                homes = {(r[0] // c, r[-1] // c) for r, c in zip(halved, below.chunk, strict=True)}
                assert all(first == last for first, last in homes)
        layout = below


@settings(max_examples=40)
@given(st.tuples(st.integers(1, 9), *[st.integers(1, 14)] * 3), st.sampled_from([2, 4, 6]))
def test_every_chunk_has_one_place(shape, chunk):
    layout = choose(shape, 1, chunk)
    seen = np.zeros(shape, int)
    places = set()
    for index in np.ndindex(*layout.chunk_counts):
        region = layout.region(index)
        seen[tuple(slice(r.start, r.stop) for r in region)] += 1
        places.add((layout.shard_of(index), layout.slot(index)))
        assert 0 <= layout.slot(index) < math.prod(layout.chunks_per_shard)
    assert (seen == 1).all()
    assert len(places) == math.prod(layout.chunk_counts)


def test_a_pyramid_ends_where_one_chunk_holds_all():
    factors = pyramid_factors((1, 512, 512, 512), (1, 1, 1), None)
    assert factors == [(2, 2, 2)] * 3
    assert pyramid_factors((1, 64, 64, 64), (1, 1, 1), None) == []


def test_thick_slices_wait_for_the_others():
    assert pyramid_factors((1, 40, 512, 512), (4, 1, 1), 4) == [(1, 2, 2), (1, 2, 2), (2, 2, 2)]


def test_single_voxels_are_not_halved():
    assert pyramid_factors((1, 1, 8, 8), (1, 1, 1), 9) == [(1, 2, 2)] * 3
    assert pyramid_factors((1, 1, 1, 1), (1, 1, 1), None) == []


def unevenness(steps: np.ndarray, sizes: np.ndarray) -> float:
    """How far voxels are from cubes, along axes of more than one."""
    counted = steps[sizes > 1]
    return counted.max() / counted.min() if len(counted) else 1


@settings(max_examples=40)
@given(SHAPES, st.tuples(*[st.floats(0.1, 10)] * 3))
def test_levels_never_become_less_cubic(shape, spacing):
    steps, sizes = np.array(spacing), np.array(shape[1:])
    for factors in pyramid_factors(shape, spacing, None):
        assert set(factors) <= {1, 2}
        before = unevenness(steps, sizes)
        steps, sizes = steps * factors, sizes // factors
        assert unevenness(steps, sizes) <= max(before, 2 + 1e-6)


@pytest.mark.parametrize("chunk", [0, 1, 3, -2, 65, "8", 8.0, True])
def test_edges_that_would_not_nest(chunk):
    with pytest.raises(FormatError, match="even and at least 2") as caught:
        choose((1, 8, 8, 8), 2, chunk)
    assert caught.value.code == "BAD_CHUNK"


@pytest.mark.parametrize(
    ("chunk", "shard"), [((1, 2, 2, 2), (1, 3, 4, 4)), ((1, 0, 2, 2), (1, 4, 4, 4))]
)
def test_layouts_that_are_none(chunk, shard):
    with pytest.raises(FormatError, match="whole multiples of chunks") as caught:
        Layout((1, 8, 8, 8), chunk, shard)
    assert caught.value.code == "BAD_LAYOUT"


def test_chunk_bytes():
    assert chunk_bytes(choose((1, 512, 512, 512), 2), np.dtype("i2")) == 2 * 64**3
