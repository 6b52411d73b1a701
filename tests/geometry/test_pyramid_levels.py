"""Which levels a pyramid has by default, and when they are asked for."""

from __future__ import annotations

import numpy as np
import pytest

import voxarray as vx
from voxarray.core.errors import FormatError
from voxarray.geometry.layout import choose
from voxarray.geometry.pyramid_levels import checked, factors_of

ISOTROPIC = (1.0, 1.0, 1.0)


def factors(shape, levels, spacing=ISOTROPIC, chunk=64):
    return factors_of(choose(shape, 2, chunk), spacing, levels, chunk)


def test_half_the_resolution_is_left_out_by_default():
    assert factors((1, 512, 512, 512), None) == [(4, 4, 4), (2, 2, 2)]
    assert factors((1, 512, 512, 512), "all") == [(2, 2, 2)] * 3
    assert factors((1, 100, 100, 100), None) == [(4, 4, 4)]
    assert factors((1, 64, 64, 64), None) == factors((1, 64, 64, 64), "all") == []


def test_the_default_costs_a_fiftieth():
    shape, total = np.array([512, 512, 512]), 0
    for step in factors((1, *shape), None):
        shape = shape // step
        total += shape.prod()
    assert total < 512**3 / 50


def test_levels_by_number_are_halves():
    assert factors((1, 512, 512, 512), 1) == []
    assert factors((1, 30, 30, 30), 3) == [(2, 2, 2)] * 2


def test_levels_by_how_many_times_coarser_they_are():
    assert factors((1, 512, 512, 512), [4, 16]) == [(4, 4, 4)] * 2
    assert factors((1, 512, 512, 512), [2, 4, 32]) == [(2, 2, 2), (2, 2, 2), (8, 8, 8)]
    assert factors((1, 512, 512, 512), []) == []
    # Thick slices stay until the others are as thick.
    assert factors((1, 40, 512, 512), [4], (4, 1, 1)) == [(1, 4, 4)]
    assert factors((1, 8, 8, 8), [2, 64]) == [(2, 2, 2)]  # too small for more


@pytest.mark.parametrize("chunk", [2, 6, 10])
def test_chunks_that_do_not_divide(chunk):
    assert factors((1, 50, 50, 50), None, chunk=chunk)[0] == (2, 2, 2)
    with pytest.raises(FormatError, match="do not fit chunks") as caught:
        factors((1, 50, 50, 50), [4], chunk=chunk)
    assert caught.value.code == "BAD_LEVELS"


@pytest.mark.parametrize("wrong", [0, -1, "some", [3], [4, 2], [2, 2], [1], ["4"], [2.0]])
def test_levels_that_are_none(wrong):
    with pytest.raises(FormatError) as caught:
        checked(wrong)
    assert caught.value.code == "BAD_LEVELS"


def test_saving_with_levels(tmp_path):
    voxels = np.arange(40**3, dtype="i4").reshape(1, 40, 40, 40)
    image = vx.ScalarImage(tensor=voxels)
    image.save(tmp_path / "a.ome.zarr", levels=[4, 8])
    archived = vx.ScalarImage(tmp_path / "a.ome.zarr")
    cells = (
        voxels[0].reshape(10, 4, 10, 4, 10, 4).transpose(0, 2, 4, 1, 3, 5).reshape(10, 10, 10, 64)
    )
    np.testing.assert_array_equal(archived.level(1).numpy()[0], np.floor(cells.mean(-1) + 0.5))
    np.testing.assert_allclose(archived.level(1).spacing, (4, 4, 4))
    assert archived.level(2).shape == (1, 5, 5, 5)
