"""A blur is SciPy's and the same bits, in whatever order voxels lie and however they are cut."""

from unittest import mock

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from voxarray.counting.moments import Moments
from voxarray.geometry.selection import Selection
from voxarray.ops import operation
from voxarray.ops.gaussian import TRUNCATE, Blurred
from voxarray.source.array import ArraySource

VOXELS = np.random.default_rng(0).normal(size=(2, 13, 1, 40)).astype(np.float32)


def blurred(voxels, part_bytes=operation.PART_BYTES, taken=None):
    source = Blurred.by(ArraySource(voxels, np.eye(4)), (1.3, 0.7, 2.0), dtype=np.dtype("f8"))
    with mock.patch.object(operation, "PART_BYTES", part_bytes):
        return source.read(Selection.whole(source.shape) if taken is None else taken)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 3, 2, 1), (3, 0, 1, 2), (1, 2, 3, 0)])
def test_the_order_of_memory_changes_no_bit(order):
    voxels = np.ascontiguousarray(VOXELS.transpose(order)).transpose(np.argsort(order))
    found = blurred(voxels)
    np.testing.assert_array_equal(found, blurred(VOXELS))
    np.testing.assert_array_equal(found, blurred(voxels, part_bytes=1 << 12))
    backwards = Selection((range(2), range(12, -1, -3), range(1), range(39, 3, -2)))
    np.testing.assert_array_equal(blurred(voxels, taken=backwards), found[:, ::-3, :, :3:-2])
    for channel, out in zip(VOXELS, found, strict=True):
        expected = gaussian_filter(channel.astype("f8"), (1.3, 0.7, 2.0), truncate=TRUNCATE)
        np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-14)


def test_squares_beyond_all_numbers_are_infinite_without_a_warning():
    assert Moments.of(np.array([0.0, 1e300])).squares == np.inf
