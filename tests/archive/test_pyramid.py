"""Levels of a pyramid: their voxels by numpy and scipy, their places by `Grid.coarsen`."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from archive_samples import DTYPES, archive, blobs, same_bits, voxels, whole
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from voxarray.archive import downsample, write_plan
from voxarray.archive.codecs import is_uniform
from voxarray.archive.downsample import majority, mean
from voxarray.archive.source import open_archive
from voxarray.testing.strategies import affines, shapes

FACTORS = [(2, 2, 2), (1, 2, 2), (2, 1, 1), (2, 2, 1), (4, 4, 4), (1, 4, 2)]
INTEGERS = DTYPES[:8]


def cells(array: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """Voxels (n, z, y, x) by cell: (n, z', y', x', members); remainders are left out."""
    n, *sizes = array.shape
    kept = [size // f * f for size, f in zip(sizes, factors, strict=True)]
    cut = array[:, : kept[0], : kept[1], : kept[2]]
    split = [part for size, f in zip(kept, factors, strict=True) for part in (size // f, f)]
    blocks = cut.reshape(n, *split).transpose(0, 1, 3, 5, 2, 4, 6)
    return blocks.reshape(*blocks.shape[:4], -1)


def round_half_up(cell: np.ndarray) -> int:
    exact = Fraction(sum(int(value) for value in cell), len(cell))
    return (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_mean_of_integers_rounds_half_up(dtype, factors):
    array = voxels((2, 5, 4, 6), dtype)
    info = np.iinfo(dtype)
    array[0, :2, :2, :4] = info.max  # whose sum overflows
    array[1, :2, :2, :4] = info.min
    array[0, 2:4, :2, :4] = [[[0, 1, 0, 0]] * 2] * 2  # exactly one half, in some cells
    grouped = cells(array, factors)
    expected = np.apply_along_axis(round_half_up, -1, grouped.astype(object)).astype(dtype)
    assert same_bits(mean(array, factors), expected)


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", "c16"])
def test_mean_of_floats_is_numpys(dtype, factors):
    rng = np.random.default_rng(0)
    array = rng.normal(0, 100, (2, 5, 4, 6)).astype(dtype)
    if array.dtype.kind == "c":
        array.imag = rng.normal(0, 100, array.shape)
    expected = cells(array, factors).astype("c16" if array.dtype.kind == "c" else "f8").mean(-1)
    seen = mean(array, factors)
    assert seen.dtype == array.dtype
    precision = 2 * np.finfo(dtype).eps
    np.testing.assert_allclose(seen, expected, rtol=precision, atol=400 * precision)


def mean_of_pairs(grouped: np.ndarray) -> np.ndarray:
    """Means over the last three axes, which have as many members as powers of two."""
    total = grouped.astype(np.result_type(grouped.dtype, np.float32))
    while total.shape[4] > 1:
        total = total[:, :, :, :, 0::2] + total[:, :, :, :, 1::2]
    while total.shape[5] > 1:
        total = total[:, :, :, :, :, 0::2] + total[:, :, :, :, :, 1::2]
    while total.shape[6] > 1:
        total = total[..., 0::2] + total[..., 1::2]
    return (total[..., 0, 0, 0] * (1 / np.prod(grouped.shape[4:]))).astype(grouped.dtype)


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(*[st.integers(1, 20)] * 3),
    factors=st.tuples(*[st.sampled_from([1, 2, 4, 8])] * 3),
    dtype=st.sampled_from([*INTEGERS, "f2", "f4", "f8"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_mean_is_that_of_pairs_of_pairs(size, factors, dtype, seed):
    """To the last bit: archives of the same voxels have the same levels, whoever made them."""
    factors = tuple(f if f <= n else 1 for f, n in zip(factors, size, strict=True))
    array = voxels((2, *size), dtype, seed)
    grouped = cells(array, factors)
    if array.dtype.kind in "iu":
        expected = np.apply_along_axis(round_half_up, -1, grouped.astype(object)).astype(dtype)
    else:
        with np.errstate(all="ignore"):
            expected = mean_of_pairs(grouped.reshape(*grouped.shape[:4], *factors))
    assert same_bits(mean(array, factors), expected)


@settings(deadline=None, max_examples=120)
@given(
    size=st.tuples(*[st.integers(1, 9)] * 3),
    factors=st.tuples(*[st.sampled_from([1, 2, 4, 8])] * 3),
    dtype=st.sampled_from(["u2", "i2", ">u2"]),
    ends=st.tuples(st.integers(-(2**15), 0), st.integers(0, 2**16 - 1)),
    seed=st.integers(0, 2**32 - 1),
)
def test_mean_of_16_bits_of_which_some_are_used(size, factors, dtype, ends, seed):
    """Sums that fit and sums that just do not, of the largest, the smallest and what is between."""
    factors = tuple(f if f <= n else 1 for f, n in zip(factors, size, strict=True))
    info = np.iinfo(dtype)
    low, high = max(ends[0], info.min), min(ends[1], info.max)
    rng = np.random.default_rng(seed)
    array = rng.integers(low, high, (1, *size), endpoint=True)
    pure = np.repeat(rng.integers(0, 3, (1, *size[:2], 1)), size[2], axis=3)
    array = np.choose(pure, [array, low, high]).astype(dtype)
    expected = np.apply_along_axis(round_half_up, -1, cells(array, factors).astype(object))
    assert same_bits(mean(array, factors), expected.astype(dtype))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_mean_of_what_is_no_number(value):
    array = np.ones((1, 2, 2, 4), np.float32)
    array[0, 0, 0, 0] = value
    assert same_bits(mean(array, (2, 2, 2)), np.array([[[[value, 1]]]], np.float32))


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("dtype", [*INTEGERS, "f2", "f4", "f8"])
def test_mode_is_scipys(dtype, factors):
    array = np.random.default_rng(1).integers(0, 4, (3, 9, 8, 7)).astype(dtype)
    expected = stats.mode(cells(array, factors), axis=-1).mode
    assert same_bits(majority(array, factors), expected.astype(dtype))


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(*[st.integers(1, 40)] * 3),
    factors=st.tuples(*[st.sampled_from([1, 2, 4, 8, 16])] * 3),
    dtype=st.sampled_from([*INTEGERS, "f4"]),
    values=st.integers(1, 20),
    rare=st.integers(0, 3),
    edge=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_mode_is_scipys_whatever_values_a_sample_has(
    size, factors, dtype, values, rare, edge, seed
):
    """Few values and many, in regions and as noise, in cells of 1 to 4096, and values in hiding."""
    factors = tuple(f if f <= n else 1 for f, n in zip(factors, size, strict=True))
    rng = np.random.default_rng(seed)
    regions = rng.integers(0, values, [2, *(n // edge + 1 for n in size)])
    for axis in (1, 2, 3):
        regions = regions.repeat(edge, axis)
    array = regions[:, : size[0], : size[1], : size[2]]
    lowest = np.iinfo(dtype).min if np.dtype(dtype).kind in "iu" else -3
    array = (array * 6 + lowest).astype(dtype)
    array.reshape(-1)[rng.integers(0, array.size, rare)] = 1
    expected = stats.mode(cells(array, factors), axis=-1).mode
    assert same_bits(majority(array, factors), np.asarray(expected).astype(dtype))
    # The values of a chunk are those of its remainder, too, which makes no cells.
    assert same_bits(majority(array, factors, np.unique(array)), majority(array, factors))


def test_the_last_value_of_a_chunk_is_not_looked_for(tmp_path, monkeypatch):
    compared = []
    count = downsample._count
    monkeypatch.setattr(
        downsample,
        "_count",
        lambda block, value, factors: compared.append(value) or count(block, value, factors),
    )
    labels = np.zeros((1, 64, 64, 64), np.uint16)
    labels[0, 30:], labels[0, :, 11, 5] = 7, 900  # a sample does not show the last one
    opened = open_archive(archive(tmp_path / "a.ome.zarr", labels, kind="label", levels=2))
    assert compared == [900, 7]
    expected = majority(labels.transpose(0, 3, 2, 1), opened.image.factors[0])
    assert same_bits(whole(opened.level(1)).transpose(0, 3, 2, 1), expected)


def test_rare_values_do_not_keep_the_others_from_being_counted():
    block = np.zeros((1, 32, 32, 32), np.uint16)
    block.reshape(-1)[1 : 33 * 40 : 66] = np.arange(1, 21)  # not where a sample is taken
    modes, missing = downsample._by_counting(block, (4, 4, 4), np.unique(block))
    assert 0 < len(missing) <= 20  # cells with one of them, which are then sorted
    assert not modes.any()


def test_mode_takes_the_smallest_of_equals():
    cell = np.array([3, 1, 3, 1, 2, 2, 7, 8], np.uint8).reshape(1, 2, 2, 2)
    assert majority(cell, (2, 2, 2)).item() == 1


@settings(deadline=None, max_examples=10)
@given(
    shape=shapes(max_size=23),
    affine=affines(),
    chunk=st.sampled_from([2, 4, 8]),
    label=st.booleans(),
    lazily=st.booleans(),
    levels=st.sampled_from([None, "all", 4, (4,), (2, 8), (8,)]),
)
def test_levels_of_any_archive(tmp_path_factory, shape, affine, chunk, label, lazily, levels):
    array = blobs(shape, "i2", seed=sum(shape))
    path = archive(
        tmp_path_factory.mktemp("levels") / "a.ozx",
        array,
        affine,
        kind="label" if label else "intensity",
        chunk=chunk,
        levels=levels if chunk == 8 or not isinstance(levels, tuple) else 4,
        lazily=lazily,
    )
    opened = open_archive(path)
    expected, grid = array.transpose(0, 3, 2, 1), opened.grid
    for number, factors in enumerate(opened.image.factors, start=1):
        expected = (majority if label else mean)(expected, factors)
        grid = grid.coarsen(factors[::-1])
        level = opened.level(number)
        assert same_bits(whole(level).transpose(0, 3, 2, 1), expected)
        assert level.grid == grid
        assert level.levels == opened.levels
    assert opened.level(0).grid.shape == shape[1:]


@settings(deadline=None, max_examples=80)
@given(
    size=st.tuples(*[st.integers(1, 12)] * 3),
    factors=st.tuples(*[st.sampled_from([1, 2, 4])] * 3),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**32 - 1),
    odd=st.sampled_from([0, 1]),
)
def test_equal_voxels_are_reduced_to_what_they_are(size, factors, dtype, seed, odd):
    """Or else they are not called uniform: -0.0, and NaN of any bits."""
    factors = tuple(f if f <= n else 1 for f, n in zip(factors, size, strict=True))
    value = voxels((5,), dtype, seed)[seed % 5] if seed % 3 else 0
    array = np.full((1, *size), value, dtype)
    array.reshape(-1)[:odd] = voxels((5,), dtype, seed + 1)[4]
    assert is_uniform(array) or odd or array.dtype.kind in "fc"
    if is_uniform(array):
        for reduce in (mean, majority):
            seen = reduce(array, factors)
            assert same_bits(seen, np.full_like(seen, array.flat[0]))


@settings(deadline=None, max_examples=25)
@given(
    size=st.tuples(*[st.integers(1, 40)] * 3),
    dtype=st.sampled_from(["u1", "i2", "u8", "f4"]),
    label=st.booleans(),
    different=st.integers(0, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_levels_of_uniform_chunks(tmp_path_factory, size, dtype, label, different, seed):
    """Regions that fill whole chunks, with few voxels that differ."""
    rng = np.random.default_rng(seed)
    regions = rng.integers(0, 3, [1, *(n // 8 + 1 for n in size)]).astype(dtype)
    for axis in (1, 2, 3):
        regions = regions.repeat(8, axis)
    array = np.ascontiguousarray(regions[:, : size[0], : size[1], : size[2]])
    array.reshape(-1)[rng.integers(0, array.size, different)] += 1
    folder = tmp_path_factory.mktemp("uniform")
    kind = "label" if label else "intensity"
    opened = open_archive(archive(folder / "a.ozx", array, kind=kind, chunk=8, levels="all"))
    expected = array.transpose(0, 3, 2, 1)
    for number, factors in enumerate(opened.image.factors, start=1):
        expected = (majority if label else mean)(expected, factors)
        assert same_bits(whole(opened.level(number)).transpose(0, 3, 2, 1), expected)


@pytest.mark.parametrize("kind", ["intensity", "label"])
def test_uniform_chunks_are_not_reduced(tmp_path, monkeypatch, kind):
    array = np.zeros((1, 32, 8, 8), np.int16)
    array[:, 16:24], array[0, 31, 7, 7] = 7, 1
    reduced = []

    def observed(function):
        return lambda block, *rest: reduced.append(block.copy()) or function(block, *rest)

    monkeypatch.setattr(write_plan, "mean", observed(mean))
    monkeypatch.setattr(write_plan, "majority", observed(majority))
    archive(tmp_path / "a.ome.zarr", array, kind=kind, chunk=8, levels=2)
    assert [block.max() for block in reduced] == [1]


def test_a_level_covers_the_cells_it_is_made_of(tmp_path):
    path = archive(tmp_path / "a.ome.zarr", blobs((1, 8, 6, 4)), np.diag([1.0, 1, 1, 1]), levels=2)
    level = open_archive(path).level(1)
    # The centre of the first cell of 2 x 2 x 2 voxels lies half a voxel from the first voxel.
    np.testing.assert_allclose(level.grid.origin, (0.5, 0.5, 0.5))
    np.testing.assert_allclose(level.grid.spacing, (2, 2, 2))
    assert level.shape == (1, 4, 3, 2)


def test_labels_have_the_levels_of_their_image(tmp_path):
    array = blobs((2, 40, 20, 9))
    path = archive(
        tmp_path / "a.ome.zarr", array, labels={"seg": blobs((1, 40, 20, 9), "u1")}, chunk=8
    )
    image, label = open_archive(path), open_archive(path / "labels/seg")
    assert image.levels == label.levels == 3
    assert image.image.factors == label.image.factors
    assert label.image.kind == "label"


@pytest.mark.parametrize("shape", [(1, 1, 700, 900), (1, 40, 130, 150), (2, 3, 300, 333)])
def test_planes_that_are_too_large_are_read_by_shards(tmp_path, monkeypatch, shape):
    """The same levels, and the same digest of the source, in whatever order shards are read."""
    import json

    import nibabel as nib

    from voxarray.archive import projection
    from voxarray.archive.convert import convert
    from voxarray.archive.options import Options
    from voxarray.formats.registry import open_source
    from voxarray.geometry.selection import Selection

    voxels = np.random.default_rng(2).integers(0, 900, shape).astype("i2")
    array = voxels.transpose(3, 2, 1, 0) if shape[0] > 1 else voxels[0].T
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii")
    source = open_source(tmp_path / "a.nii")
    options = Options(chunk=16)
    convert(source, tmp_path / "slabs.ome.zarr", options=options)
    monkeypatch.setattr(projection, "_LARGEST_SLAB", 1000)
    convert(source, tmp_path / "shards.ome.zarr", options=options)
    slabs, shards = (open_source(tmp_path / f"{one}.ome.zarr") for one in ("slabs", "shards"))
    assert slabs.levels == shards.levels
    for number in range(slabs.levels):
        a, b = slabs.level(number), shards.level(number)
        whole = Selection.whole(a.shape)
        assert np.array_equal(a.read(whole), b.read(whole))
    manifests = [tmp_path / f"{one}.ome.zarr/manifest.json" for one in ("slabs", "shards")]
    facts = [json.loads(one.read_text())["source"]["sha256"] for one in manifests]
    assert facts[0] == facts[1] is not None
