"""Arrays of many chunks are read a bounded number of chunks at a time."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from voxarray.core.errors import VoxarrayWarning
from voxarray.formats.registry import open_source
from voxarray.formats.zarr.chunk_batches import divided
from voxarray.geometry.selection import Selection

MiB = 1 << 20


@st.composite
def selections(draw):
    axes = draw(st.integers(0, 4))
    ranges = [
        range(start := draw(st.integers(0, 9)), start + draw(st.integers(1, 30)), step)
        for step in draw(st.lists(st.integers(1, 5), min_size=axes, max_size=axes))
    ]
    return ranges, [draw(st.integers(1, 6)) for _ in ranges], draw(st.integers(1, 40))


@given(selection=selections())
def test_every_voxel_is_in_one_part_of_few_chunks(selection):
    ranges, chunks, most = selection
    seen, touched = set(), set()
    for part in divided(ranges, chunks, most):
        inside = [r[some] for r, some in zip(ranges, part, strict=True)]
        voxels = set(itertools.product(*inside))
        assert voxels
        assert not voxels & seen
        seen |= voxels
        here = {tuple(n // size for n, size in zip(v, chunks, strict=True)) for v in voxels}
        assert len(here) <= most
        assert not here & touched
        touched |= here
    assert len(seen) == math.prod(len(r) for r in ranges)


def test_an_array_of_tiny_chunks(tmp_path):
    """Found by atheris; 16,384 chunks took 38 MiB for 4 MiB of voxels, and any number any.

    4,096 of them would take 10 MiB for 1 MiB.
    """
    path = str(tmp_path / "a.zarr")
    array = zarr.create_array(
        path,
        shape=(64, 64, 128),
        chunks=(4, 4, 8),
        dtype=">i2",
        fill_value=7,
        dimension_names=("z", "y", "x"),
    )
    expected = np.full(array.shape, 7, "i2")
    for at in ((0, 0, 0), (62, 30, 63), (33, 63, 127)):
        array[at] = expected[at] = sum(at)
    with pytest.warns(VoxarrayWarning, match="where the voxels are"):
        source = open_source(path)
    everything = Selection((range(1), range(127, -1, -1), range(64), range(64)))
    source.read(Selection((range(1), *[range(8)] * 3)))  # imports are not counted
    tracemalloc.start()
    voxels = source.read(everything)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(voxels[0], expected.T[::-1])
    assert voxels.dtype == np.dtype("i2")
    assert peak < 6 * MiB
