"""Lazy operations that are computed into memory of the caller."""

from __future__ import annotations

import tracemalloc

import dask
import numpy as np
import pytest

import voxarray as vx
from voxarray.geometry.selection import Selection
from voxarray.ops.operation import PART_BYTES

MIB = 1 << 20
TRANSFORMS = {
    "OneHot": vx.OneHot(4),
    "RemapLabels": vx.RemapLabels({1: 5}),
    "Contour": vx.Contour(),
    "Pad": vx.Pad(3),
    "Resample": vx.Resample(1.5),
    "ToOrientation": vx.Compose([vx.Pad(3), vx.ToOrientation("PIR")]),
}


def labels(side: int) -> vx.LabelMap:
    voxels = np.random.default_rng(0).integers(0, 4, (1, side, side, side // 4)).astype("u1")
    return vx.LabelMap(tensor=np.tile(voxels, 4))


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("dtype", ["own", "i4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_same_voxels_as_read(transform, dtype, order, monkeypatch):
    monkeypatch.setattr("voxarray.ops.operation.PART_BYTES", 40_000)  # of several parts
    source = transform(labels(48)).source
    selection = Selection.whole(source.shape)
    out = np.full(source.shape, 77, source.dtype if dtype == "own" else dtype, order=order)
    source.read_into(selection, out)
    np.testing.assert_array_equal(out, source.read(selection))


@pytest.mark.parametrize(
    "transform",
    [vx.OneHot(8), vx.Compose([vx.OneHot(8), vx.ToOrientation("PIR")])],
    ids=["OneHot", "ToOrientation"],
)
def test_nothing_of_the_size_of_the_result_is_held_beside_it(transform):
    source = transform(labels(160)).source
    selection = Selection.whole(source.shape)
    out = selection.empty(source.dtype)
    assert out.nbytes > 2 * PART_BYTES
    with dask.config.set({"voxarray.threads": 1}):
        source.read_into(selection, out)
        tracemalloc.start()
        try:
            source.read_into(selection, out)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak <= PART_BYTES + MIB
