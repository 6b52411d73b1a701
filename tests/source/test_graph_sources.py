"""Dask arrays that read sources: other sources in their place, and blocks put where they belong."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import numpy as np
import pytest

from voxarray.core import thread_pools
from voxarray.geometry.selection import Selection
from voxarray.source import array as array_module
from voxarray.source.array import ArraySource, DaskSource
from voxarray.source.graph_sources import sources_of, with_sources
from voxarray.xarray_index.lazy import to_dask

VOXELS = np.arange(2 * 6 * 8 * 10, dtype="f4").reshape(2, 6, 8, 10)
CHUNKS = (1, 6, 4, 5)
PART = Selection((range(1), range(5, 0, -2), range(8), range(2, 9)))


def source(voxels=VOXELS) -> ArraySource:
    return ArraySource(voxels, np.eye(4))


def test_the_same_graph_reads_another_source():
    first, second = source(), source(VOXELS + 1)
    array = to_dask(first, CHUNKS)
    result = array - array.mean()
    assert list(sources_of(result)) == [first]
    other = with_sources(result, lambda _: second)
    assert list(sources_of(other)) == [second]
    assert other.name == result.name
    assert other.chunks == result.chunks
    expected = da.from_array(VOXELS + 1, CHUNKS)
    assert np.array_equal(other.compute(), (expected - expected.mean()).compute())
    assert with_sources(result, lambda one: one) is result


@pytest.mark.parametrize("scheduler", ["threads", "synchronous", "processes", None])
def test_parts_are_read_by_any_scheduler(scheduler):
    read = DaskSource(da.from_array(VOXELS, CHUNKS) * 2, np.eye(4))
    with dask.config.set(scheduler=scheduler):
        assert np.array_equal(read.read(PART), VOXELS[PART.slices()] * 2)
        out = np.empty(PART.shape, "f8")
        read.read_into(PART, out)
    assert np.array_equal(out, VOXELS[PART.slices()] * 2)


def test_parts_are_read_within_threads_that_compute():
    read = DaskSource(da.from_array(VOXELS, CHUNKS) * 2, np.eye(4))
    parts = list(thread_pools.computing_pool().map(read.read, [PART] * 4))
    assert all(np.array_equal(part, VOXELS[PART.slices()] * 2) for part in parts)
    assert thread_pools.computing_pool().submit(thread_pools.is_computing).result()
    assert not thread_pools.pool().submit(thread_pools.is_computing).result()


def test_blocks_become_the_type_that_was_promised():
    blocks = da.from_array(VOXELS, CHUNKS).map_blocks(lambda x: x + 0.7, dtype="i2")
    part = DaskSource(blocks, np.eye(4)).read(PART)
    assert part.dtype == np.dtype("i2")
    assert np.array_equal(part, (VOXELS[PART.slices()] + 0.7).astype("i2"))


def test_blocks_of_another_shape_than_promised_are_refused():
    blocks = da.from_array(VOXELS, CHUNKS).map_blocks(lambda x: x[..., :1], dtype="f4")
    with pytest.raises(ValueError, match="promised"):
        DaskSource(blocks, np.eye(4)).read(Selection.whole(VOXELS.shape))


def test_threads_find_a_reduction_once(monkeypatch):
    calls = []
    inner = array_module.with_reductions_found

    def counted(array):
        calls.append(array)
        time.sleep(0.05)  # so that the other thread comes meanwhile
        return inner(array)

    monkeypatch.setattr(array_module, "with_reductions_found", counted)
    array = da.from_array(VOXELS, CHUNKS)
    read = DaskSource(array > array.mean(), np.eye(4))
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(read.read, [PART, PART]))
    assert len(calls) == 1
