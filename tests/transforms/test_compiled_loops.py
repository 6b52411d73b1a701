"""Compiled loops against NumPy and SciPy: the same bits, whatever the shape, type and memory."""

import os
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Selection
from voxarray.ops import accelerated
from voxarray.ops.resampling import Resampled
from voxarray.ops.samples import as_stored
from voxarray.source.array import ArraySource

pytest.importorskip("numba")

DTYPES = [np.dtype(c) for c in ("i2", "f4")]  # compiling for each type takes seconds
ALL = [np.dtype(c) for c in ("?", "u1", "i1", "u2", "i4", "u4", "i8", "u8", "f2", "f8", "i2", "f4")]
INTEGERS = [dtype for dtype in ALL if dtype.kind in "iu"]


@st.composite
def sources(draw, dtypes):
    """A volume in any memory layout, of any type; floating-point ones hold no numbers here and
    there."""
    dtype = draw(st.sampled_from(dtypes))
    shape = draw(st.tuples(st.integers(1, 2), *[st.integers(1, 9)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        small = draw(st.booleans())
        low, high = (max(info.min, -50), 50) if small else (info.min, info.max)
        voxels = rng.integers(low, high, shape, dtype, endpoint=True)
    elif dtype.kind == "b":
        voxels = rng.random(shape) < 0.5
    else:
        voxels = (rng.standard_normal(shape) * 100).astype(dtype)
        if draw(st.booleans()):
            voxels[rng.random(shape) < 0.1] = draw(st.sampled_from([np.nan, np.inf, -np.inf, -0.0]))
    order = draw(st.permutations(range(4)))
    voxels = np.ascontiguousarray(voxels.transpose(order)).transpose(np.argsort(order))
    layout = draw(st.sampled_from(["plain", "padded", "reversed", "swapped", "spread", "constant"]))
    if layout == "padded":
        voxels = np.pad(voxels, [(0, 0), (1, 2), (2, 1), (1, 1)])[:, 1:-2, 2:-1, 1:-1]
    elif layout == "reversed":
        voxels = voxels[:, ::-1, :, ::-1]
    elif layout == "swapped":
        voxels = voxels.astype(voxels.dtype.newbyteorder())
    elif layout == "spread":
        voxels = np.repeat(voxels, 2, axis=draw(st.integers(1, 3)))[:, ::1]
    elif layout == "constant":  # along an axis, in memory once, as dask makes what it fills
        axis = draw(st.integers(1, 3))
        length = draw(st.integers(1, 9))
        one = np.take(voxels, [0], axis=axis)
        voxels = np.broadcast_to(one, (*one.shape[:axis], length, *one.shape[axis + 1 :]))
    return ArraySource(voxels, np.eye(4))


@st.composite
def grids(draw, is_oblique):
    shape = draw(st.tuples(*[st.integers(1, 12)] * 3))
    steps = st.sampled_from([1.0, -1.0, 2.0, 0.5, 0.8, 1.5, -0.7, 3.1])
    matrix = np.diag([draw(steps) for _ in range(3)])
    if is_oblique:
        a, b = draw(st.floats(-1, 1)), draw(st.floats(-1, 1))
        turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
        matrix = turn @ tilt @ matrix
    elif draw(st.booleans()):
        matrix = matrix[:, draw(st.permutations(range(3)))]
    affine = np.eye(4)
    affine[:3, :3] = matrix
    shift = st.sampled_from([0.0, 0.25, 1.0, 4.0, 7.5, -2.0])
    affine[:3, 3] = [draw(shift) for _ in range(3)]
    return Grid(shape, affine)


def both(source, grid, interpolation, selection=None, **options):
    """The voxels of a grid by compiled loops, by NumPy and SciPy, and which loops were used."""
    from voxarray.ops import compiled

    resampled = Resampled.onto(source, grid, interpolation, fill=[7], **options)
    selection = selection or Selection.whole(resampled.shape)
    results = []
    for loops in (mock.Mock(wraps=compiled), None):
        with mock.patch.object(accelerated, "_compiled_loops", lambda _, loops=loops: loops):
            results.append(resampled.read(selection))
        if loops is not None:
            used = {call[0] for call in loops.method_calls}
    return *results, used


def assert_same_bits(compiled, plain):
    assert compiled.dtype == plain.dtype
    assert compiled.shape == plain.shape
    bits = f"u{plain.dtype.itemsize}"
    different = np.ascontiguousarray(compiled).view(bits) != np.ascontiguousarray(plain).view(bits)
    if plain.dtype.kind == "f":
        different &= ~(np.isnan(compiled) & np.isnan(plain))
    assert not different.any()


@settings(deadline=None)
@given(sources(DTYPES), grids(is_oblique=False), st.sampled_from(["linear", "nearest"]))
def test_parallel_grids_have_the_same_bits(source, grid, interpolation):
    compiled, plain, _ = both(source, grid, interpolation)
    assert_same_bits(compiled, plain)


@settings(deadline=None)
@given(sources(DTYPES), grids(is_oblique=True), st.sampled_from(["linear", "nearest"]))
def test_oblique_grids_have_the_same_bits(source, grid, interpolation):
    compiled, plain, _ = both(source, grid, interpolation)
    assert_same_bits(compiled, plain)


@pytest.mark.slow
@settings(deadline=None, max_examples=3000)
@given(
    sources(ALL),
    grids(is_oblique=False) | grids(is_oblique=True),
    st.sampled_from(["linear", "nearest"]),
)
def test_every_type_has_the_same_bits(source, grid, interpolation):
    compiled, plain, _ = both(source, grid, interpolation)
    assert_same_bits(compiled, plain)


@settings(deadline=None, max_examples=30)
@given(sources(DTYPES), grids(is_oblique=True) | grids(is_oblique=False), st.data())
def test_a_part_has_the_bits_of_the_whole(source, grid, data):
    compiled, _, _ = both(source, grid, "linear")
    ranges = []
    for size in compiled.shape:
        start = data.draw(st.integers(0, size - 1))
        ranges.append(range(start, data.draw(st.integers(start + 1, size))))
    part, plain, _ = both(source, grid, "linear", Selection(tuple(ranges)))
    assert_same_bits(part, plain)
    assert_same_bits(part, compiled[tuple(slice(r.start, r.stop) for r in ranges)])


@pytest.mark.parametrize(
    ("steps", "order", "used"),
    [
        ((1.5, 1.5, 1.5), "F", "columns_last"),
        ((1.5, 1.5, 0.3), "F", "planes_last"),
        ((1.5, 1.5, 1.5), "C", "planes_last"),
        ((0.3, 1.5, 1.6), "C", "planes_last"),
        ((1.6, 1.5, 0.3), "C", "columns_last"),
    ],
)
def test_both_orders_of_memory_are_compiled(steps, order, used):
    rng = np.random.default_rng(0)
    voxels = np.asarray(rng.integers(-99, 99, (9, 10, 11)).astype(np.int16), order=order)
    grid = Grid((5, 6, 7), np.diag([*steps, 1.0]))
    compiled, plain, loops = both(ArraySource(voxels[None], np.eye(4)), grid, "linear")
    assert loops == {used}
    assert_same_bits(compiled, plain)


@pytest.mark.parametrize(
    ("interpolation", "used"), [("linear", "trilinear"), ("nearest", "nearest")]
)
def test_oblique_grids_are_compiled(interpolation, used):
    voxels = np.random.default_rng(0).integers(-99, 99, (1, 9, 10, 11)).astype(np.int16)
    affine = np.array([[0.8, -0.6, 0, 3], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    compiled, plain, loops = both(
        ArraySource(voxels, np.eye(4)), Grid((6, 7, 8), affine), interpolation
    )
    assert loops == {used}
    assert_same_bits(compiled, plain)


def test_uneven_picks_are_compiled():
    voxels = np.random.default_rng(0).standard_normal((1, 9, 10, 11)).astype(np.float32)
    grid = Grid((5, 6, 7), np.diag([1.5, 1.5, 1.5, 1.0]))
    compiled, plain, loops = both(ArraySource(voxels, np.eye(4)), grid, "nearest")
    assert loops == {"pick"}
    assert_same_bits(compiled, plain)


SCRIPT = """
import sys
import numpy as np
import voxarray as vx
from voxarray.geometry.selection import Selection
from voxarray.ops import accelerated
accelerated._WORTHWHILE = 1 << 22
voxels = np.zeros((1, 64, 64, 64), np.int16)
image = vx.ScalarImage(tensor=voxels)
def compute(result):  # without what makes tensors, which takes longer to load than all this
    result.source.read(Selection.whole(result.shape))
compute(vx.transforms.Resample(1.3)(image))
assert "numba" not in sys.modules, "a small image loads the compiler"
for _ in range(12):
    compute(vx.transforms.Resample(0.9)(image))
assert "numba" in sys.modules
"""


@pytest.mark.parametrize("is_allowed", [True, False])
def test_numba_is_loaded_only_for_much_work_and_where_it_is_allowed(is_allowed):
    environment = {**os.environ, "DASK_VOXARRAY__COMPILED_LOOPS": str(is_allowed)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True
    )
    assert (done.returncode == 0) is is_allowed, done.stderr


@pytest.mark.parametrize(("budget", "is_loaded"), [("1 GiB", True), ("1023 MiB", False)])
def test_numba_is_not_loaded_on_a_small_budget_which_does_not_count_it(budget, is_loaded):
    environment = {**os.environ, "DASK_VOXARRAY__MEMORY_BUDGET": budget}
    script = SCRIPT.replace('assert "numba" in sys.modules', 'print("numba" in sys.modules)')
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(is_loaded)]


@pytest.mark.parametrize("stored", INTEGERS)
@pytest.mark.parametrize("base", [np.float16, np.float32, np.float64])
def test_numbers_beyond_an_integer_type_are_clipped(base, stored):
    values = np.array([np.inf, -np.inf, np.nan, np.finfo(base).max, 1.0], base)
    voxels = as_stored(values, stored)
    info = np.iinfo(stored)
    assert voxels[0] >= info.max * (1 - 2**-53)
    assert voxels[1] == info.min
    assert voxels[2] == 0
    assert voxels[4] == 1
