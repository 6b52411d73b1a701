"""The algebra of grids, against nibabel, SimpleITK and plain matrix products."""

from __future__ import annotations

import itertools
import pickle

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from voxarray.core.errors import GridError, VoxarrayError
from voxarray.geometry.grid import Grid, checked_affine
from voxarray.testing.strategies import affines, index_expressions, shapes

GRIDS = st.builds(lambda shape, affine: Grid(shape[1:], affine), shapes(), affines())
ORIENTATIONS = [
    "".join(codes)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for codes in itertools.product(*order)
]


def close(seen, expected) -> None:
    np.testing.assert_allclose(seen, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.eye(3), r"shape \(4, 4\)"),
        (np.full((4, 4), np.nan), "NaN or infinity"),
        (np.diag([1, 1, np.inf, 1]), "NaN or infinity"),
        (np.diag([1, 1, 1, 2]), "last row"),
        (np.diag([1, 1, 0, 1]), "singular"),
        (np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "singular"),
    ],
)
def test_affines_that_place_nothing(affine, message):
    with pytest.raises(GridError, match=message) as caught:
        Grid((2, 2, 2), affine)
    assert caught.value.code == "BAD_AFFINE"
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, VoxarrayError)


@pytest.mark.parametrize("shape", [(0, 1, 1), (1, 2), (1, 1, 1, 1), (-1, 2, 2)])
def test_shapes_that_hold_nothing(shape):
    with pytest.raises(GridError, match="three sizes") as caught:
        Grid(shape, np.eye(4))
    assert caught.value.code == "BAD_DIMS"


def test_tiny_voxels_are_not_singular():
    assert Grid((1, 1, 1), np.diag([1e-6, 1e-6, 1e-6, 1])).spacing == (1e-6, 1e-6, 1e-6)


@settings(max_examples=40)
@given(GRIDS)
def test_values_are_equal_hashable_picklable_and_frozen(grid):
    twin = Grid(grid.shape, grid.affine.copy())
    assert twin == grid
    assert hash(twin) == hash(grid)
    assert pickle.loads(pickle.dumps(grid)) == grid
    assert grid != Grid(grid.shape, grid.affine @ np.diag([2, 1, 1, 1]))
    assert grid != grid.shape
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 7
    with pytest.raises(AttributeError):
        grid.shape = (1, 1, 1)


def test_negative_zeros_do_not_divide_equals():
    affine = np.eye(4)
    affine[0, 1] = -0.0
    assert hash(Grid((1, 1, 1), affine)) == hash(Grid.identity((1, 1, 1)))


@settings(max_examples=40)
@given(GRIDS)
def test_facts_are_nibabels(grid):
    close(grid.spacing, nib.affines.voxel_sizes(grid.affine))
    close(grid.origin, grid.affine[:3, 3])
    indices = np.random.default_rng(0).uniform(-5, 5, (7, 3))
    close(grid.to_world(indices), nib.affines.apply_affine(grid.affine, indices))
    close(grid.to_index(grid.to_world(indices)), indices)
    close(grid.direction * grid.spacing, grid.affine[:3, :3])


@settings(max_examples=40)
@given(GRIDS)
def test_orientation_is_nibabels(grid):
    assert grid.orientation == nib.aff2axcodes(grid.affine)


@settings(max_examples=40)
@given(GRIDS)
def test_intrinsic_origin_rebuilds_the_affine(grid):
    indices = np.array([[0, 0, 0], [1, 2, 3], [-1, 5, 0.5]])
    along = indices * grid.spacing + grid.intrinsic_origin
    close(along @ grid.direction.T, grid.to_world(indices))


@settings(max_examples=40)
@given(GRIDS)
def test_corners_bounds_and_centre(grid):
    ends = [(-0.5, size - 0.5) for size in grid.shape]
    corners = nib.affines.apply_affine(grid.affine, list(itertools.product(*ends)))
    close(grid.corners(), corners)
    close(grid.bounds, [corners.min(0), corners.max(0)])
    close(grid.centre, corners.mean(0))


@settings(max_examples=40)
@given(data=st.data(), grid=GRIDS)
def test_a_slice_is_where_its_voxels_were(data, grid):
    key = data.draw(index_expressions((1, *grid.shape)).filter(lambda k: _addressed(k) < 4))
    where = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    items = key if isinstance(key, tuple) else (key,)
    kept = tuple(
        item if isinstance(item, slice) or item is ... else slice(item, item + 1 or None)
        for item in items
    )
    if ... not in kept:
        kept = (*kept, ...)
    taken = where[(*kept, slice(None))]
    part = grid[key]
    assert part.shape == taken.shape[:3]
    local = np.stack(np.meshgrid(*map(np.arange, part.shape), indexing="ij"), axis=-1)
    close(part.to_world(local), grid.to_world(taken))


def _addressed(key) -> int:
    return sum(item is not ... for item in (key if isinstance(key, tuple) else (key,)))


@settings(max_examples=40)
@given(
    grid=GRIDS,
    before=st.tuples(*[st.integers(0, 4)] * 3),
    after=st.tuples(*[st.integers(0, 4)] * 3),
)
def test_padding_and_cropping_undo_each_other(grid, before, after):
    padded = grid.pad(before, after)
    assert padded.shape == tuple(np.add(grid.shape, np.add(before, after)))
    close(padded.to_world(before), grid.origin)
    back = padded.pad([-n for n in before], [-n for n in after])
    assert back.isclose(grid)


@settings(max_examples=40)
@given(grid=GRIDS, factors=st.tuples(*[st.sampled_from([0.5, 1, 2, 3, 1.7])] * 3))
def test_zooming_keeps_the_first_corner_and_the_directions(grid, factors):
    zoomed = grid.zoom(factors)
    close(zoomed.to_world([-0.5] * 3), grid.to_world([-0.5] * 3))
    close(np.array(zoomed.spacing) * factors, grid.spacing)
    close(zoomed.direction, grid.direction)
    if all(float(n * f).is_integer() for n, f in zip(grid.shape, factors, strict=True)):
        close(zoomed.bounds, grid.bounds)


@pytest.mark.parametrize("factors", [(0, 1, 1), (1, -1, 1), (1, 1, np.nan), (np.inf, 1, 1)])
def test_zooms_that_make_nothing(factors):
    with pytest.raises(GridError, match="must be positive") as caught:
        Grid.identity((4, 4, 4)).zoom(factors)
    assert caught.value.code == "BAD_ZOOM"


@settings(max_examples=40)
@given(grid=GRIDS, factors=st.tuples(*[st.sampled_from([1, 2])] * 3))
def test_coarse_voxels_are_centred_on_what_they_are_made_of(grid, factors):
    factors = tuple(f if n >= f else 1 for n, f in zip(grid.shape, factors, strict=True))
    coarse = grid.coarsen(factors)
    first = list(itertools.product(*[range(f) for f in factors]))
    close(coarse.origin, grid.to_world(first).mean(0))
    assert coarse.shape == tuple(n // f for n, f in zip(grid.shape, factors, strict=True))


@settings(max_examples=40)
@given(grid=GRIDS, codes=st.sampled_from(ORIENTATIONS))
def test_reorienting_is_nibabels(grid, codes):
    seen = grid.reorient(codes)
    image = nib.Nifti1Image(np.zeros(grid.shape, np.uint8), grid.affine)
    change = nib.orientations.ornt_transform(
        nib.io_orientation(grid.affine), nib.orientations.axcodes2ornt(codes)
    )
    expected = image.as_reoriented(change)
    assert seen.shape == expected.shape
    close(seen.affine, expected.affine)
    assert "".join(seen.orientation) == codes


@pytest.mark.parametrize("codes", ["RA", "RAR", "RAX", "RASL", ""])
def test_orientations_that_are_none(codes):
    with pytest.raises(GridError, match=r"R, L, A, P, S or I|names each of") as caught:
        Grid.identity((2, 2, 2)).reorient(codes)
    assert caught.value.code == "BAD_ORIENTATION"


def test_orders_that_are_none():
    with pytest.raises(GridError, match="a permutation of 0, 1, 2"):
        Grid.identity((2, 2, 2)).permute((0, 0, 1))


@settings(max_examples=30)
@given(affines(sheared=False), shapes())
def test_positions_are_simpleitks_in_lps(affine, shape):
    grid = Grid(shape[1:], affine)
    lps = np.diag([-1.0, -1, 1])
    image = sitk.Image([int(n) for n in grid.shape], sitk.sitkUInt8)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(lps @ grid.origin)
    image.SetDirection((lps @ grid.direction).ravel())
    for index in ((0, 0, 0), tuple(n - 1 for n in grid.shape)):
        point = np.array(image.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(grid.to_world(index), lps @ point, atol=1e-6)


@settings(max_examples=40)
@given(GRIDS)
def test_isclose_tolerates_a_thousandth_of_a_voxel_anywhere(grid):
    assert grid.isclose(grid)
    moved = grid.affine.copy()
    moved[:3, 3] += 0.9e-3 * grid.affine[:3, 0]
    assert grid.isclose(Grid(grid.shape, moved))
    moved[:3, 3] += 0.9e-3 * grid.affine[:3, 0]
    assert not grid.isclose(Grid(grid.shape, moved))
    longer = (grid.shape[0] + 1, *grid.shape[1:])
    assert not grid.isclose(Grid(longer, grid.affine))


def test_isclose_looks_at_the_far_end():
    grid = Grid.identity((1000, 1, 1))
    stretched = Grid((1000, 1, 1), np.diag([1 + 1e-5, 1, 1, 1]))
    assert not grid.isclose(stretched)  # a hundredth of a voxel, at the last


@settings(max_examples=40)
@given(data=st.data(), here=GRIDS, there=GRIDS, margin=st.integers(0, 2))
def test_footprints_hold_every_neighbour(data, here, there, margin):
    box = tuple(
        range(low, data.draw(st.integers(low + 1, size)))
        for size in here.shape
        for low in [data.draw(st.integers(0, size - 1))]
    )
    found = here.footprint(box, there, margin)
    points = there.to_index(here.to_world(list(itertools.product(*box))))
    lows = np.floor(points + 1e-9).astype(int) - margin
    highs = np.ceil(points - 1e-9).astype(int) + margin
    for axis, size in enumerate(there.shape):
        wanted = set()
        for low, high in zip(lows[:, axis], highs[:, axis], strict=True):
            wanted.update(range(max(0, low), min(size, high + 1)))
        assert wanted <= set(found[axis])
        assert all(0 <= index < size for index in found[axis])


def test_repr_says_what_matters():
    text = repr(Grid((2, 3, 4), np.diag([1, 2, 3, 1])))
    assert text == (
        "Grid(shape: (2, 3, 4); spacing: (1.00, 2.00, 3.00) mm; "
        "origin: (0.00, 0.00, 0.00) mm; orientation: RAS+)"
    )


def test_checked_affine_copies():
    given_ = np.eye(4)
    kept = checked_affine(given_)
    given_[0, 0] = 5
    assert kept[0, 0] == 1
    assert not kept.flags.writeable
