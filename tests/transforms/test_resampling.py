"""Transforms that interpolate: TorchIO's numbers, the same for every cut, from footprints."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torchio as tio
from hypothesis import given
from hypothesis import strategies as st
from spatial_samples import (
    assert_close,
    assert_same,
    assert_same_place,
    both,
    oblique,
    transformed,
)

import voxarray as vx
from real_files import real_files
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Selection
from voxarray.ops.gaussian import Blurred
from voxarray.ops.kernels import KERNELS
from voxarray.ops.resampling import Resampled
from voxarray.testing.counting import count_reads

OTHER = ((9, 10, 11), np.diag([1.5, -1.5, 2, 1.0]))
"""A grid that is oblique to those of the samples."""

IMAGES = ["nearest", *(name for name, one in KERNELS.items() if not one.keeps_values)]
IMAGES.remove("cubic")  # another name of "bspline", which TorchIO's enumeration hides


SINCS = {"cosine", "hamming", "lanczos", "welch", "blackman"}
"""Kernels that differ in their window alone."""

TARGETS = {"1": 1, "three": (2, 1.3, 0.9), "grid": OTHER}


@pytest.mark.parametrize(
    ("name", "target", "seed"),
    [
        # Every kernel onto every grid, of one or the other image, and windows of sincs onto one
        # grid each in turns; all onto all, and more images, in the soak.
        pytest.param(
            name,
            target,
            seed,
            marks=()
            if seed == (n + m) % 2 and (name not in SINCS or (n + m) % 3 == 0)
            else pytest.mark.slow,
            id=f"{name}-{grid}-{seed}",
        )
        for n, name in enumerate(IMAGES)
        for m, (grid, target) in enumerate(TARGETS.items())
        for seed in range(4)
    ],
)
def test_interpolations(name, target, seed):
    for dtype in ("float32", "int16"):
        theirs, ours = transformed("Resample", *both(seed, dtype), target, image_interpolation=name)
        if name == "nearest" and target is not OTHER:  # see `ties-of-labels`
            assert_same_place(theirs["t1"], ours["t1"])
        else:
            assert_close(theirs["t1"], ours["t1"])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float64"])
def test_types(dtype):
    assert_close(*(s["t1"] for s in transformed("Resample", *both(2, dtype), OTHER)))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ["nearest", "label_gaussian"])
def test_labels_are_exact(seed, name):
    theirs, ours = transformed("Resample", *both(seed), OTHER, label_interpolation=name)
    assert_same(theirs["seg"], ours["seg"])


@pytest.mark.parametrize("spacing", [1, 2, 3, 0.5, (1, 2, 4)])
def test_labels_on_even_grids_are_exact(spacing):
    # All positions are exact in binary: ties go up, in ITK as here.
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 9, (1, 12, 16, 20)).astype("int16")
    affine = np.diag([1, -1, 2, 1.0])
    theirs, ours = (one.LabelMap(tensor=labels, affine=affine) for one in (tio, vx))
    assert_same(*transformed("Resample", theirs, ours, spacing))


@pytest.mark.parametrize("path", real_files())
def test_real_scans(path):
    ours = vx.ScalarImage(path)
    part = tuple(slice(0, 40) for _ in range(3))
    ours = ours[part]
    if abs(abs(np.linalg.det(ours.grid.direction)) - 1) > 1e-5:
        pytest.skip("sheared: ITK makes another grid of it")
    if ours.data.is_floating_point() and ours.data.isnan().any():
        pytest.skip("NaN: where they spread is a matter of rounding")
    for voxels in (ours.data, ours.data.double()):
        pair = [one.ScalarImage(tensor=voxels, affine=ours.affine) for one in (tio, vx)]
        for target in ((3.5, 2.2, 4.4), ((20, 21, 22), np.diag([3, 3, 3, 1.0]))):
            # One of the files is a ramp, whose values are whole numbers wherever one looks.
            assert_close(*transformed("Resample", *pair, target), noisy=1)


def test_images_of_one_grid_stay_on_one_grid(tmp_path):
    # 40 voxels of 0.9 mm are 36 of 1 mm; of 0.9 mm in float32, as NIfTI has it, only 35.
    affine = np.diag([0.9, -0.8, 1.2, 1])
    noise = np.random.default_rng(0).random((1, 40, 50, 30), "float32")
    labels = (noise * 5).astype("uint8")
    vx.LabelMap(tensor=labels, affine=affine).save(tmp_path / "seg.nii")
    seg = vx.LabelMap(tmp_path / "seg.nii")
    subject = vx.Subject(t1=vx.ScalarImage(tensor=noise, affine=affine), seg=seg)
    assert subject.same_grid()
    assert vx.Resample(1)(subject.t1).shape != vx.Resample(1)(seg).shape
    done = vx.Resample(1)(subject)
    assert done.same_grid()
    assert done.t1.spatial_shape == (36, 40, 36)
    assert done[3:9].seg.shape == (1, 6, 40, 36)
    done.save(tmp_path / "done")
    for name in ("t1", "seg"):
        again = vx.replay(tmp_path / "done" / f"{name}.ome.zarr", subject)[name]
        np.testing.assert_array_equal(again.numpy(), done[name].numpy())
    alone = vx.replay(tmp_path / "done" / "seg.ome.zarr", tmp_path / "seg.nii")
    np.testing.assert_array_equal(alone.numpy(), done.seg.numpy())
    turned = vx.Resample(1)(vx.Subject(seg=seg, t1=subject.t1))  # the first image decides
    assert turned.t1.spatial_shape == turned.seg.spatial_shape == (35, 40, 36)
    alone = vx.Resample(1, include=["t1"])(vx.Subject(seg=seg, t1=subject.t1))
    assert alone.t1.spatial_shape == (36, 40, 36)


@pytest.mark.parametrize("target", [(10, 12, 9), (-1, 7, 20), 8])
def test_resize(target):
    agreed = 0
    for seed in range(8):
        theirs, ours = transformed("Resize", *both(seed, "float32"), target)
        assert ours.spatial_shape == theirs.spatial_shape
        if np.allclose(theirs["t1"].affine, ours["t1"].affine, atol=1e-6):
            # Else TorchIO has lost a plane to rounding, and padded: see `resize-off-by-one`.
            assert_close(theirs["t1"], ours["t1"])
            agreed += 1
    assert agreed


AFFINES = [
    ((1.2, 0.8, 1), (10, 20, -30), (3, -2, 5), {"default_pad_value": 7}),
    ((1.2, 0.8, 1), (10, 20, -30), (3, -2, 5), {"center": "origin", "default_pad_value": "mean"}),
    (1, (0, 0, 40), 0, {"default_pad_value": "otsu", "default_pad_label": 2}),
    (
        (0.7, 1, 1),
        (90, 0, 0),
        (0, 0, 1),
        {"default_pad_value": 0, "image_interpolation": "bspline"},
    ),
]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize(("scales", "degrees", "translation", "kwargs"), AFFINES)
def test_affine(scales, degrees, translation, kwargs, seed, dtype):
    pair = both(seed, dtype)
    three = [np.broadcast_to(v, 3).tolist() for v in (scales, degrees, translation)]
    theirs, ours = transformed("Affine", *pair, *three, **kwargs)
    assert_close(theirs["t1"], ours["t1"])
    assert np.array_equal(theirs["seg"].data, ours["seg"].data)  # TorchIO's are float32
    assert ours["seg"].dtype == np.dtype("uint8")


def test_affine_of_a_minimum():
    theirs, ours = transformed("Affine", *both(1), (1, 1, 1), (0, 30, 0), (0, 0, 0))
    assert_close(theirs["t1"], ours["t1"])


def test_affine_of_a_plane():
    plane = np.random.default_rng(0).random((1, 20, 30, 1)).astype("float32")
    theirs, ours = (one.ScalarImage(tensor=plane) for one in (tio, vx))
    args = (1.1, 0.9, 2), (20, 10, 30), (1, 2, 0)
    assert_close(*transformed("Affine", theirs, ours, *args, default_pad_value=0))


# --- References -----------------------------------------------------------------------------------


def test_references(tmp_path):
    _, subject = both(0)
    reference = both(1)[1]["t1"]
    reference.save(tmp_path / "reference.nii")
    expected = vx.Resample(reference)(subject["t1"]).numpy()
    for target in (
        tmp_path / "reference.nii",
        str(tmp_path / "reference.nii"),
        reference.grid,
        (reference.spatial_shape, reference.affine),
    ):
        assert np.array_equal(vx.Resample(target)(subject)["t1"].numpy(), expected)
    both_on = vx.Resample("t1")(vx.Subject(t1=reference, t2=subject["t1"]))
    assert np.array_equal(both_on["t2"].numpy(), expected)
    unchanged = vx.Resample(reference)(vx.Subject(a=reference))["a"]
    for image in (both_on["t1"], unchanged):
        assert np.array_equal(image.numpy(), reference.numpy())
    assert both_on["t1"].history == reference.history


def test_pre_affine():
    matrix = oblique(5)
    theirs, ours = both(0, "float32")
    for subject in (theirs, ours):
        subject["t1"]["to_mni"] = matrix
    theirs, ours = transformed("Resample", theirs, ours, OTHER, pre_affine_name="to_mni")
    assert_close(theirs["t1"], ours["t1"])
    assert [e["operation"] for e in ours["t1"].history] == ["set_affine", "Resample"]
    with pytest.raises(ValueError, match="no image in the subject has the matrix"):
        vx.Resample(1, pre_affine_name="nothing")(ours)


def test_scalars_only():
    _, ours = both(0)
    result = vx.Resample(1, scalars_only=True)(ours)
    assert np.array_equal(result["seg"].numpy(), ours["seg"].numpy())
    assert result["seg"].history == ours["seg"].history
    assert result["t1"].spacing == pytest.approx((1, 1, 1))


@pytest.mark.parametrize("seed", range(4))
def test_antialias(seed):
    # TorchIO's Gaussian is a recursive approximation: equal to 1 % of the noise's deviation.
    theirs, ours = transformed("Resample", *both(seed), 3, antialias=True)
    assert_same_place(theirs["t1"], ours["t1"])
    assert np.abs(theirs["t1"].numpy() - ours["t1"].numpy()).max() < 1
    assert ours["seg"].dtype == np.dtype("uint8")


def test_sheared_grids_stay_sheared():
    affine = np.array([[2, 0.4, 0, 1], [0, 3, 0, 2], [0, 0, 4, 3], [0, 0, 0, 1.0]])
    ramp = np.arange(8 * 9 * 10, dtype="float64").reshape(1, 8, 9, 10)
    fine = vx.ScalarImage(tensor=ramp, affine=affine).resample(1)
    assert np.allclose(fine.grid.direction, Grid((8, 9, 10), affine).direction)
    assert np.allclose(np.diff(fine.numpy()[0, 5, 9])[2:-3], 0.25)


# --- The same for every cut -----------------------------------------------------------------------


@st.composite
def cuts(draw):
    seed = draw(st.integers(0, 50))
    name = draw(st.sampled_from(sorted(KERNELS)))
    dtype = draw(st.sampled_from(["uint8", "int16", "float32", "float64"]))
    target = draw(st.sampled_from(["spacing", "grid", "reversed"]))
    chunks = [draw(st.integers(1, 12)) for _ in range(3)]
    return seed, name, dtype, target, chunks


@given(cuts())
def test_resampled_parts_equal_those_of_the_volume(case):
    seed, name, dtype, target, chunks = case
    source = both(seed, dtype)[1]["t1"].source
    grid = {
        "spacing": Grid(source.shape[1:], source.affine).zoom((1.3, 0.6, 0.9)),
        "grid": Grid(*OTHER),
        "reversed": Grid(source.shape[1:], source.affine).permute((2, 0, 1)).flip((1,)),
    }[target]
    if name not in ("nearest", "linear", "bspline"):
        grid = grid[:5, :6, :7]
    resampled = Resampled.onto(source, grid, name)
    whole = resampled.read(Selection.whole(resampled.shape))
    assert whole.dtype == resampled.dtype
    parts = np.empty_like(whole)
    for x, y, z in itertools.product(
        *(range(0, size, chunk) for size, chunk in zip(grid.shape, chunks, strict=True))
    ):
        box = tuple(
            range(start, min(start + chunk, size))
            for start, chunk, size in zip((x, y, z), chunks, grid.shape, strict=True)
        )
        part = Selection((range(2), *box))
        parts[part.slices()] = resampled.read(part)
    if KERNELS[name].margin:
        assert np.abs(whole.astype(float) - parts).max() <= 1e-9 * np.abs(whole).max()
    else:
        assert np.array_equal(whole, parts)
    w, h, d = (range(size) for size in grid.shape)
    stepped = Selection((range(2)[::-1], w[::-2], h[::3], d[-3:]))
    read = resampled.read(stepped)
    assert np.allclose(read, whole[::-1, ::-2, ::3, -3:], rtol=1e-9, atol=1e-6)


def test_threads_and_parts_are_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    image = vx.ScalarImage(tensor=rng.random((1, 60, 70, 80)), affine=oblique(0))
    for target in (0.8, OTHER, Grid((90, 80, 70), oblique(0)).flip((0,))):
        result = image.resample(target)
        monkeypatch.setattr("voxarray.ops.operation.PART_BYTES", 1 << 30)
        whole = result.numpy()
        monkeypatch.setattr("voxarray.ops.operation.PART_BYTES", 1 << 18)
        result.unload()
        assert np.array_equal(result.numpy(), whole)
        assert np.array_equal(result.dask.compute(), whole)


def test_splines_are_the_whole_to_1e_9():
    voxels = np.random.default_rng(0).random((1, 9, 8, 200))
    result = vx.ScalarImage(tensor=voxels).resample(0.7, image_interpolation="bspline")
    whole = result.numpy()
    part = result[..., 100:160].numpy()
    assert 0 <= np.abs(part - whole[..., 100:160]).max() < 1e-9


@given(st.data())
def test_blurs_are_scipys(data):
    from scipy.ndimage import gaussian_filter

    sigmas = tuple(data.draw(st.sampled_from([0, 0.4, 1.3, 3])) for _ in range(3))
    mode = data.draw(st.sampled_from(["reflect", "nearest"]))
    voxels = np.random.default_rng(0).random((1, 12, 13, 14))
    blurred = Blurred.by(vx.ScalarImage(tensor=voxels).source, sigmas, mode=mode)
    whole = blurred.read(Selection.whole(voxels.shape))
    assert np.allclose(whole[0], gaussian_filter(voxels[0], sigmas, mode=mode), rtol=0, atol=1e-12)
    box = [data.draw(st.integers(0, n - 1)) for n in voxels.shape[1:]]
    part = Selection((range(1), *(range(n, 11)[:: -1 if n % 2 else 2] or range(11) for n in box)))
    expected = whole[np.ix_(range(1), *map(list, part.spatial))]
    assert np.array_equal(blurred.read(part), expected)


# --- Lazy -----------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.nii"
    voxels = np.random.default_rng(0).integers(0, 999, (1, 80, 90, 100)).astype("int16")
    vx.ScalarImage(tensor=voxels, affine=oblique(0)).save(path)
    return path


@pytest.mark.parametrize("target", [1, 0.5, "oblique"])
def test_a_corner_reads_its_footprint(path, target):
    image = vx.ScalarImage(path)
    if target == "oblique":
        target = Grid((50, 60, 70), np.eye(4)).pad((30, 30, 30), (0, 0, 0))
    with count_reads() as reads:
        result = vx.Compose([vx.ToCanonical(), vx.Resample(target)])(image)
        _ = repr(result), result.array, result.dask
        assert reads.voxels == 0
        middle = [n // 2 for n in result.spatial_shape]
        corner = result[tuple(slice(n, n + 16) for n in middle)]
        corner.load()
    # The box around the corner in the scan, and one voxel more at each end.
    ends = vx.ScalarImage(path).grid.to_index(corner.grid.corners())
    footprint = np.prod(np.ptp(ends, axis=0) + 2)
    assert corner.numpy().any()
    assert 0 < reads.voxels <= footprint


def test_pickles(path):
    import pickle

    image = vx.ScalarImage(path).to_canonical().resample(1.2).pad(2)
    again = pickle.loads(pickle.dumps(image))
    assert again.source.token() == image.source.token()
    assert np.array_equal(again[5:9, 5:9].numpy(), image[5:9, 5:9].numpy())


def test_nan_and_infinity_stay_where_they_are():
    voxels = np.ones((1, 6, 6, 6), "float32")
    voxels[0, 2, 2, 2], voxels[0, 4, 4, 4] = np.nan, np.inf
    image = vx.ScalarImage(tensor=voxels)
    same = image.resample(image.grid)
    assert np.array_equal(same.numpy(), voxels, equal_nan=True)
    half = image.resample(0.5, image_interpolation="linear").numpy()
    assert np.isnan(half).sum() == 5**3 - (4**3 - 3**3) or np.isnan(half).any()


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: vx.Resample(0), ValueError, "positive"),
        (lambda: vx.Resample((1, 2, -1)), ValueError, "positive"),
        (lambda: vx.Resample((1, 2)), ValueError, "grid is given as"),
        (lambda: vx.Resample(None), TypeError, "a target is"),
        (lambda: vx.Resample(1, image_interpolation="best"), ValueError, "UNKNOWN_INTERPOLATION"),
        (lambda: vx.Resample(1, image_interpolation=3), TypeError, "interpolation is a name"),
        (lambda: vx.Resample(1, label_interpolation="linear"), ValueError, "NOT_FOR_LABELS"),
        (lambda: vx.Resize(0), ValueError, "target_shape"),
        (lambda: vx.Affine(0, 0, 0), ValueError, "scales must be positive"),
        (lambda: vx.Affine(1, (1, 2), 0), ValueError, "degrees"),
        (lambda: vx.Affine(1, 0, 0, center="nose"), ValueError, "center"),
        (lambda: vx.Affine(1, 0, 0, default_pad_value="most"), ValueError, "default_pad_value"),
        (lambda: vx.Resample("nothing")(both(0)[1]), ValueError, "neither the name"),
        (
            lambda: vx.ScalarImage(tensor=np.ones((1, 2, 2, 2), "complex64")).resample(0.3),
            ValueError,
            "UNSUPPORTED_DTYPE",
        ),
    ],
)
def test_refusals(make, error, text):
    with pytest.raises(error, match=text):
        make()
