"""Transforms that copy voxels: equal to TorchIO's in every one, lazy, and blockwise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torchio as tio
from hypothesis import given
from hypothesis import strategies as st
from spatial_samples import assert_same, both, transformed

import voxarray as vx
from real_files import real_files
from voxarray.geometry.selection import Selection
from voxarray.ops.padding import Padded
from voxarray.testing.counting import count_reads

SIX = (3, 2, 0, 1, 5, 9)
COPYING = [
    ("ToCanonical", (), {}),
    ("ToOrientation", ("LPS",), {}),
    ("ToOrientation", ("SLP",), {}),
    ("Transpose", (), {}),
    ("Flip", ((0, 2),), {}),
    ("Flip", (1,), {}),
    ("Flip", ("Left",), {}),
    ("Flip", (("Inferior", "Anterior"),), {}),
    ("Crop", ((1, 2, 0, 1, 2, 0),), {}),
    ("Crop", (1,), {}),
    ("Crop", ((1, 0, 2),), {}),
    *[
        ("Pad", (SIX,), {"padding_mode": mode})
        for mode in (0, 5.5, "edge", "wrap", "reflect", "symmetric", "linear_ramp")
    ],
    ("Pad", (25,), {"padding_mode": "reflect"}),
    ("CropOrPad", ((10, 9, 12),), {}),
    ("CropOrPad", (8,), {"only_crop": True}),
    ("CropOrPad", (14,), {"only_pad": True, "padding_mode": "edge"}),
    ("CropOrPad", ((20, None, 5),), {"units": "mm"}),
    ("CropOrPad", (1.5,), {"units": "cm"}),
    ("CropOrPad", (), {"mask_name": "seg"}),
    ("CropOrPad", ((7, 8, 9),), {"mask_name": "seg"}),
    ("CropOrPad", ((4, 20, 9),), {"mask_name": "seg", "labels": [2]}),
    ("CropOrPad", ((4, 5, 6),), {"mask_name": "seg", "labels": [9]}),
    ("CropOrPad", ((4, 5, 6),), {"mask_name": "nothing"}),
    ("EnsureShapeMultiple", (4,), {}),
    ("EnsureShapeMultiple", ((2, 3, 4),), {"method": "crop"}),
]


@pytest.mark.filterwarnings("ignore:there is no mask", "ignore:the mask")
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("name", "args", "kwargs"), COPYING)
def test_equal_to_torchio(name, args, kwargs, seed):
    theirs, ours = transformed(name, *both(seed), *args, **kwargs)
    for key in ("t1", "seg"):
        assert_same(theirs[key], ours[key])


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SLP", "IAR"])
@pytest.mark.parametrize("single", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_axes_of_one_voxel_are_turned_too(orientation, single):
    """As TorchIO and nibabel turn them: a single slice can be upside down."""
    shape = [1, *(1 if axis in single else 4 for axis in range(3))]
    tensor = torch.arange(np.prod(shape), dtype=torch.float32).reshape(shape)
    for signs in itertools.product((-1, 1), repeat=3):
        affine = np.diag([*(np.array(signs) * (1, 2, 3)), 1.0])
        ours = vx.ToOrientation(orientation)(vx.ScalarImage(tensor=tensor, affine=affine))
        theirs = tio.ToOrientation(orientation)(tio.ScalarImage(tensor=tensor, affine=affine))
        assert ours.orientation_str == orientation
        np.testing.assert_array_equal(ours.affine, theirs.affine)
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
@pytest.mark.parametrize("mode", [3.7, "edge", "linear_ramp"])
def test_types_of_padding(dtype, mode):
    theirs, ours = transformed("Pad", *both(1, dtype), SIX, padding_mode=mode)
    if (dtype, mode) == ("float64", "linear_ramp"):  # numpy rounds by what else is in the edge
        assert np.allclose(theirs["t1"].data, ours["t1"].data, rtol=1e-15, atol=0)
    else:
        assert_same(theirs["t1"], ours["t1"])


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32", "float64"])
def test_any_part_of_a_ramp_is_that_of_the_whole(dtype):
    rng = np.random.default_rng(3)
    voxels = (rng.random((1, 5, 4, 6)) * 3000 + 1).astype(dtype)
    before, after = (49, 3, 30), (41, 28, 5)
    widths = [(0, 0), *zip(before, after, strict=True)]
    # A channel of zeros makes numpy round alike everywhere.
    oracle = np.pad(np.concatenate([voxels, 0 * voxels]), widths, mode="linear_ramp")[:1]
    padded = Padded(vx.ScalarImage(tensor=voxels).source, before, after, "linear_ramp")
    assert np.array_equal(padded.read(Selection.whole(padded.shape)), oracle)
    for x, y, z in rng.integers(padded.shape[1:], size=(300, 3)).tolist():
        box = (range(1), range(x, x + 1), range(y, y + 1), range(z, z + 1))
        assert padded.read(Selection(box)).item() == oracle[0, x, y, z]


@pytest.mark.parametrize("mode", ["maximum", "minimum", "mean", "median"])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.filterwarnings("ignore:the me")
def test_padding_with_a_statistic(mode, dtype):
    theirs, ours = transformed("Pad", *both(1, dtype), SIX, padding_mode=mode)
    assert np.allclose(theirs["t1"].data, ours["t1"].data, rtol=1e-4)
    assert ours["t1"].data.dtype == theirs["t1"].data.dtype


@pytest.mark.parametrize("path", real_files())
def test_real_scans(path):
    # How both read files is compared elsewhere (tests/parity).
    ours = vx.ScalarImage(path)
    theirs = tio.ScalarImage(tensor=ours.data, affine=ours.affine)
    for name, args in [("ToOrientation", ("PIL",)), ("CropOrPad", ((50, 9, 20),))]:
        one, other = transformed(name, theirs, vx.ScalarImage(path), *args)
        assert np.allclose(one.affine, other.affine, atol=1e-6)
        assert np.array_equal(
            one.numpy(), other.numpy(), equal_nan=ours.data.dtype.is_floating_point
        )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.nii"
    both(3)[1]["t1"].save(path)
    return path


def test_moving_reads_nothing_else(path):
    image = vx.ScalarImage(path)
    with count_reads() as reads:
        moved = vx.Compose([vx.ToOrientation("SPL"), vx.Flip(1), vx.Crop(1), vx.Pad(3)])(image)
        moved = moved.to_canonical().crop((1, 1, 1)).pad(2, "reflect")
        assert reads.voxels == 0
        patch = moved[4:6, 5:7, 5:8].numpy()
        assert 0 < reads.voxels <= 4 * patch.size  # a reflection may mirror twice
    loaded = vx.ScalarImage(tensor=image.numpy(), affine=image.affine)
    again = vx.Compose([vx.ToOrientation("SPL"), vx.Flip(1), vx.Crop(1), vx.Pad(3)])(loaded)
    again = again.to_canonical().crop((1, 1, 1)).pad(2, "reflect")
    assert np.array_equal(patch, again.numpy()[:, 4:6, 5:7, 5:8])


@st.composite
def paddings(draw):
    shape = tuple(draw(st.integers(1, 6)) for _ in range(3))
    amounts = [draw(st.integers(0, 9)) for _ in range(6)]
    mode = draw(
        st.sampled_from(["constant", "edge", "wrap", "reflect", "symmetric", "linear_ramp"])
    )
    dtype = draw(st.sampled_from(["uint8", "int16", "float32"]))
    sizes = [b + n + a for b, n, a in zip(amounts[::2], shape, amounts[1::2], strict=True)]
    ranges = []
    for size in sizes:
        start = draw(st.integers(0, size - 1))
        stop, step = draw(st.integers(start + 1, size)), draw(st.sampled_from([1, 2, 3]))
        taken = range(start, stop, step)
        ranges.append(taken[::-1] if draw(st.booleans()) else taken)
    return shape, amounts, mode, dtype, ranges


@given(paddings())
def test_any_part_of_any_padding_is_numpys(case):
    shape, amounts, mode, dtype, ranges = case
    voxels = (np.random.default_rng(0).random((1, *shape)) * 100).astype(dtype)
    source = vx.ScalarImage(tensor=voxels).source
    padded = Padded(source, tuple(amounts[::2]), tuple(amounts[1::2]), mode)
    widths = [(0, 0), *zip(amounts[::2], amounts[1::2], strict=True)]
    whole = np.pad(voxels, widths, mode=mode)
    part = padded.read(Selection((range(1), *ranges)))
    assert np.array_equal(
        part,
        whole[(slice(None), *(np.array(r) for r in ranges[:1]))][:, :, list(ranges[1])][
            ..., list(ranges[2])
        ],
    )
    assert padded.shape == whole.shape


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: vx.ToOrientation("RAX"), ValueError, "BAD_ORIENTATION"),
        (lambda: vx.ToOrientation("RLS"), ValueError, "BAD_ORIENTATION"),
        (lambda: vx.ToOrientation("RA"), ValueError, "three letters"),
        (lambda: vx.Flip(3), ValueError, "0, 1, 2 or names"),
        (lambda: vx.Flip("banana"), ValueError, "Bottom"),
        (lambda: vx.Flip(""), ValueError, "not ''"),
        (lambda: vx.Flip([0, 0]), ValueError, "twice"),
        (lambda: vx.Crop(-1), ValueError, "whole numbers"),
        (lambda: vx.Crop((1, 2)), ValueError, "1, 3 or 6"),
        (lambda: vx.Pad(1, "nothing"), KeyError, "padding mode"),
        (lambda: vx.Pad(1, np.mean), TypeError, "whole volume"),
        (lambda: vx.CropOrPad(), ValueError, "target shape is needed"),
        (lambda: vx.CropOrPad(5, labels=[1]), ValueError, "give mask_name"),
        (lambda: vx.CropOrPad(5, units="inch"), ValueError, "units"),
        (lambda: vx.CropOrPad(0), ValueError, "positive"),
        (lambda: vx.CropOrPad(1.5), ValueError, "whole"),
        (lambda: vx.CropOrPad((1, 2)), ValueError, "one number or three"),
        (lambda: vx.CropOrPad(5, only_crop=True, only_pad=True), ValueError, "cannot both"),
        (lambda: vx.EnsureShapeMultiple(4, method="trim"), ValueError, "method"),
        (lambda: vx.EnsureShapeMultiple(0), ValueError, "target_multiple"),
    ],
)
def test_refusals(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_nothing_left():
    with pytest.raises(ValueError, match="leaves nothing"):
        vx.Crop(10)(both(0)[1])


def test_images_that_are_not_cropped_may_have_a_grid_of_their_own():
    scan = vx.testing.sample()
    coarse = vx.Resample(3)(vx.LabelMap(tensor=scan.numpy() > 0, affine=scan.affine))
    subject = vx.Subject(seg=coarse, t1=scan)
    for transform in (
        vx.CropOrPad(50, include=["t1"]),
        vx.CropOrPad(50, exclude=["seg"]),
        vx.EnsureShapeMultiple(50, include=["t1"], method="crop"),
    ):
        made = transform(subject)
        assert made.t1.spatial_shape == transform(vx.Subject(t1=scan)).spatial_shape
        assert made.seg.grid == coarse.grid
    for transform in (vx.CropOrPad(50), vx.CropOrPad(50, mask_name="seg", include=["t1"])):
        with pytest.raises(vx.core.errors.StateError) as caught:
            transform(subject)
        assert caught.value.code == "GRIDS_DIFFER"
