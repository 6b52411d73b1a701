"""What is clear of three axes is decided without LAPACK, and as LAPACK decides it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from voxarray.core.errors import GridError
from voxarray.geometry import voxel_axes
from voxarray.geometry.grid import Grid
from voxarray.geometry.voxel_axes import nearest_axes, span_volume

TURNS = st.tuples(
    *[st.sampled_from([0, 30, 44.9, 45, 89.99, 90, 135, 180]) | st.floats(0, 360)] * 3
)
SPACINGS = st.tuples(*[st.floats(1e-7, 1e7)] * 3)


def by_lapack(monkeypatch, direction):
    with monkeypatch.context() as patch:
        patch.setattr(voxel_axes, "_clear_axes", lambda _: None)
        return nearest_axes(direction)


@given(turns=TURNS, flips=st.permutations(range(3)), shear=st.sampled_from([0, 1e-9, 1e-7, 0.3]))
def test_axes_are_those_of_the_orthogonal_matrix(turns, flips, shear):
    direction = Rotation.from_euler("xyz", turns, degrees=True).as_matrix()[:, flips]
    direction[:, 0] += shear * direction[:, 1]
    direction /= np.linalg.norm(direction, axis=0)
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert nearest_axes(direction) == by_lapack(monkeypatch, direction)


def test_most_scans_need_no_lapack(monkeypatch):
    monkeypatch.delattr(np.linalg, "svd")
    monkeypatch.delattr(np.linalg, "det")
    oblique = Rotation.from_euler("xyz", (12, -7, 3), degrees=True).as_matrix()
    assert nearest_axes(oblique[:, [1, 0, 2]] * (1, -1, 1)) == [(1, 1), (0, -1), (2, 1)]
    assert span_volume(oblique * (0.9, 0.9, 4))


@given(
    turns=TURNS, spacings=SPACINGS, flat=st.sampled_from([1, 1e-2, 1e-4, 1e-8, 1.1e-9, 9e-10, 0])
)
def test_a_volume_is_spanned_as_lapack_says(turns, spacings, flat):
    columns = Rotation.from_euler("xyz", turns, degrees=True).as_matrix()
    columns[:, 2] = flat * columns[:, 2] + columns[:, 0]
    columns = columns * spacings
    volume = abs(np.linalg.det(columns / np.linalg.norm(columns, axis=0)))
    assert span_volume(columns) == (volume >= voxel_axes._MIN_VOLUME)


@pytest.mark.parametrize(("scale", "expected"), [(0.0, False), (1e-150, True), (1e150, True)])
def test_extreme_sizes_are_left_to_lapack(scale, expected):
    assert span_volume(np.diag([1.0, 1.0, scale])) == expected


@given(turns=TURNS, spacings=SPACINGS)
def test_spacings_are_norms_to_the_last_bit(turns, spacings):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", turns, degrees=True).as_matrix() * spacings
    assert Grid((2, 2, 2), affine).spacing == tuple(np.linalg.norm(affine[:3, :3], axis=0))


def test_a_flat_affine_is_refused():
    with pytest.raises(GridError, match="singular"):
        Grid((2, 2, 2), np.diag([1.0, 1.0, 0.0, 1.0]))
