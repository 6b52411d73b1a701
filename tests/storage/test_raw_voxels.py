from __future__ import annotations

import os
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxarray.core.errors import TruncatedError
from voxarray.source.slabs import Slabs, copy_from_slab, within
from voxarray.storage import raw_voxels
from voxarray.storage.raw_voxels import RawVoxels

SHAPE = (3, 17, 40, 50)


@pytest.fixture(scope="module", params=["<i2", ">f4", "u1"])
def stored(request, tmp_path_factory):
    array = np.random.default_rng(0).integers(0, 200, SHAPE).astype(request.param)
    path = tmp_path_factory.mktemp("raw") / "a.raw"
    path.write_bytes(b"x" * 77 + array.tobytes())
    return path, array


def ranges(data):
    for size in SHAPE:
        start = data.draw(st.integers(0, size - 1))
        stop = data.draw(st.integers(start + 1, size))
        yield range(start, stop, data.draw(st.integers(1, 5)))


@settings(deadline=None)
@given(st.data(), st.sampled_from([1e-12, 2.5e-6, 1.0]), st.sampled_from([1, 3000, 8 << 20]))
def test_any_box_by_any_plan(stored, data, call_seconds, max_span):
    path, array = stored
    box = list(ranges(data))
    out = np.empty([len(r) for r in box], array.dtype.newbyteorder("="))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw_voxels, "MAX_SPAN", max_span)
        patch.setattr(raw_voxels, "_LARGEST_CALL", 1000)
        fd = os.open(path, os.O_RDONLY)
        costs = raw_voxels.Costs(call_seconds, 1e-10)
        fetch = partial(raw_voxels.read_exactly, fd)
        RawVoxels(77, SHAPE, array.dtype).fetch(fetch, box, out, costs)
        os.close(fd)
    assert np.array_equal(out, array[np.ix_(*box)])


@settings(deadline=None)
@given(st.data(), st.sampled_from([1e-12, 2.5e-6, 1.0]), st.sampled_from([1, 3000, 8 << 20]))
def test_the_plan_takes_the_least_time_of_all(data, call_seconds, max_span):
    box, costs = list(ranges(data)), raw_voxels.Costs(call_seconds, 1e-10)
    held = RawVoxels(0, SHAPE, np.dtype("<i2"))
    steps = [size * r.step for size, r in zip(held._strides, box, strict=True)]
    seconds = {}
    for level in range(len(box) + 1):
        span = held._span(box[level:], steps[level:])
        wanted = 2 * int(np.prod([len(r) for r in box[level:]]))
        if span == wanted or span <= max_span:
            calls = int(np.prod([len(r) for r in box[:level]]))
            seconds[level] = calls * (costs.call + span * costs.byte)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw_voxels, "MAX_SPAN", max_span)
        found = held._cheapest_level(box, steps, costs)
    assert found == min(seconds, key=seconds.__getitem__)


def test_a_file_that_ends_too_early(stored):
    path, array = stored
    fd = os.open(path, os.O_RDONLY)
    longer = RawVoxels(77, (SHAPE[0] + 1, *SHAPE[1:]), array.dtype)
    out = np.empty((1, *SHAPE[1:]), array.dtype.newbyteorder("="))
    with pytest.raises(TruncatedError, match="got 0: the file ends too early"):
        longer.read(fd, [range(3, 4), *(range(n) for n in SHAPE[1:])], out)
    os.close(fd)


@given(st.tuples(*[st.integers(1, 12)] * 4), st.integers(1, 8), st.integers(1, 3000), st.data())
def test_slabs_tile_the_array_in_disk_order(shape, itemsize, target, data):
    slabs = Slabs.of(shape, itemsize, target)
    flat = np.arange(np.prod(shape)).reshape(shape)
    seen = []
    for slab in slabs:
        part = flat[within(slab)]
        assert part.size * itemsize <= max(target, itemsize)
        assert slabs.voxels_before(slab) == part.ravel()[0]
        seen.append(part.ravel())
    assert np.array_equal(np.concatenate(seen), flat.ravel())
    box = [range(n)[data.draw(st.slices(n).filter(lambda s, n=n: range(n)[s]))] for n in shape]
    box = [r if r.step > 0 else r[::-1] for r in box]
    out = np.full([len(r) for r in box], -1)
    for slab in slabs.touching(box):
        copy_from_slab(flat[within(slab)], slab, box, out)
    assert np.array_equal(out, flat[np.ix_(*box)])
