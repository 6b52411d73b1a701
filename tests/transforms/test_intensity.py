"""Intensity transforms against TorchIO 1.2.1, against themselves in parts, and what they refuse."""

from __future__ import annotations

import itertools
import json
import pickle

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import torchio as tio
from hypothesis import HealthCheck, given, settings

import voxarray as vx
from real_files import real_files
from voxarray.statistics import cache
from voxarray.testing.counting import count_reads
from voxarray.testing.strategies import affines, index_expressions

pytestmark = [
    pytest.mark.filterwarnings("ignore:Expanding mask"),
    pytest.mark.filterwarnings("ignore:Rescaling image:RuntimeWarning"),
]

LANDMARKS = np.array([0, 5, 11, 20, 28, 35, 44, 50, 62, 71, 80, 94, 100.0])


@pytest.fixture(autouse=True)
def _nothing_remembered():
    cache.forget()


def above_mean(x):
    return x > (x.float().mean() if isinstance(x, torch.Tensor) else x.mean())


def negated(x):
    return -x


CASES = {
    "rescale": ("RescaleIntensity", {}),
    "rescale-percentiles": (
        "RescaleIntensity",
        {"out_min_max": (-1, 2), "percentiles": (0.5, 99.5)},
    ),
    "rescale-one-number": ("RescaleIntensity", {"out_min_max": 5, "percentiles": 90}),
    "rescale-mask": ("RescaleIntensity", {"percentiles": (1, 99), "masking_method": "seg"}),
    "rescale-range": ("RescaleIntensity", {"in_min_max": (-100, 400)}),
    "rescale-range-mask": (
        "RescaleIntensity",
        {"in_min_max": (0, 400), "percentiles": (2, 90), "masking_method": "seg"},
    ),
    "z": ("ZNormalization", {}),
    "z-mask": ("ZNormalization", {"masking_method": "seg"}),
    "z-function": ("ZNormalization", {"masking_method": above_mean}),
    "z-bounds": ("ZNormalization", {"masking_method": (2, 1, 3)}),
    "z-six-bounds": ("ZNormalization", {"masking_method": (2, 1, 3, 0, 0, 2)}),
    **{
        f"z-{side}": ("ZNormalization", {"masking_method": side})
        for side in ("Left", "right", "Anterior", "Posterior", "Superior", "Inferior")
    },
    "clamp": ("Clamp", {"out_min": -50, "out_max": 300}),
    "clamp-fraction": ("Clamp", {"out_max": 300.5}),
    "standardise": ("HistogramStandardization", {"landmarks": {"t1": LANDMARKS}}),
    "standardise-mask": (
        "HistogramStandardization",
        {"landmarks": {"t1": LANDMARKS}, "masking_method": "seg"},
    ),
    "mask": ("Mask", {"masking_method": "seg"}),
    "mask-labels": (
        "Mask",
        {"masking_method": "seg", "labels": [1, 3], "outside_value": -3},
    ),
    "mask-function": ("Mask", {"masking_method": above_mean}),
    "to": ("To", {"target": torch.int32}),
    "to-float": ("To", {"target": torch.float64}),
    "lambda": ("Lambda", {"function": negated, "types_to_apply": [tio.INTENSITY]}),
    "blur": ("Blur", {"std": (1, 2, 0.5)}),
    "blur-names": ("Blur", {"std": {"t1": (0, 1.5, 3)}}),
}


def volume(dtype, shape=(1, 14, 13, 12), seed=0):
    rng = np.random.default_rng(seed)
    scan = rng.normal(200, 150, shape)
    scan[:, :2] = 0  # air
    return scan.astype(dtype), rng.integers(0, 4, (1, *shape[1:])).astype("u1")


def both(scan, labels, affine):
    return [
        lib.Subject(
            t1=lib.ScalarImage(tensor=scan, affine=affine),
            seg=lib.LabelMap(tensor=labels, affine=affine),
        )
        for lib in (vx, tio)
    ]


def compare(name, arguments, ours, theirs):
    found = getattr(vx, name)(**arguments)(ours)
    expected = getattr(tio, name)(**arguments)(theirs)
    assert np.array_equal(found["seg"].numpy(), expected["seg"].numpy())
    voxels, wanted = found["t1"].numpy(), expected["t1"].numpy()
    assert voxels.shape == wanted.shape
    integers = ours["t1"].dtype.kind in "iu"
    assert voxels.dtype == (np.dtype("f4") if name == "Blur" and integers else wanted.dtype)
    assert np.array_equal(found["t1"].affine, ours["t1"].affine)
    if name == "Blur":  # integers are cut off after each axis there
        wide = tio.Subject(theirs)
        wide["t1"].set_data(theirs["t1"].data.float())
        wanted = tio.Blur(**arguments)(wide)["t1"].numpy()
    # Single values of floats are known to 2^-16 of themselves, and TorchIO sums in float32.
    scale = np.abs(wanted).max()
    exact = name in ("Clamp", "Mask", "To", "Lambda") or (integers and name != "Blur")
    if name == "ZNormalization" or (name == "Blur"):
        exact = False
    tolerance = 0 if exact else 1e-5 if integers or name in ("ZNormalization", "Blur") else 2.0**-14
    np.testing.assert_allclose(voxels, wanted, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_as_torchio(case, dtype):
    name, arguments = CASES[case]
    sides = str(arguments.get("masking_method", "")).capitalize() in vx.transforms.masking.SIDES
    rng = np.random.default_rng(1)
    for seed in range(2):
        # TorchIO takes every image for RAS.
        affine = np.diag([1.5, 2, 0.7, 1])
        if not sides:
            affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * [1.5, 2, 0.7]
        affine[:3, 3] = rng.normal(0, 50, 3)
        scan, labels = volume(dtype, seed=seed)
        compare(name, arguments, *both(scan, labels, affine))


REAL = ("rescale-percentiles", "z", "z-function", "clamp", "standardise", "mask-function", "blur")


@pytest.mark.parametrize("path", real_files())
def test_real_scans_as_torchio(path):
    image = vx.ScalarImage(path)[:1, :48, :48, :48]
    voxels = image.numpy()
    if voxels.dtype.kind == "c" or not np.isfinite(voxels).all() or len(np.unique(voxels)) < 3:
        pytest.skip("complex, a mask, or not all numbers")
    # Voxels as TorchIO should read them: what it does is the subject of other tests.
    ours, theirs = both(voxels, np.zeros(voxels.shape, "u1"), image.affine)
    for case in REAL:
        name, arguments = CASES[case]
        if name != "Clamp" or voxels.dtype != np.uint8:  # where TorchIO refuses -50
            compare(name, arguments, ours, theirs)


def test_sides_of_any_orientation():
    """As if the image were brought to RAS, where TorchIO takes the first axis for that."""
    scan, labels = volume("int16")
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            affine = np.eye(4)
            affine[:3, :3] = np.eye(3)[:, axes] * signs
            ours, _ = both(scan, labels, affine)
            canonical = vx.ToCanonical()(ours)
            for side in vx.transforms.masking.SIDES:
                mask = vx.Mask(side)
                expected = mask(canonical)["t1"].numpy()
                found = vx.ToCanonical()(mask(ours))["t1"].numpy()
                assert np.array_equal(found, expected), (axes, signs, side)


# --- Parts, laziness ----------------------------------------------------------------------------


ALIKE = {
    *("rescale-one-number", "z-six-bounds", "to-float"),
    *(f"z-{side}" for side in ("right", "Anterior", "Posterior", "Inferior")),
}
"""Cases that differ from another one by a number, a type or a side, which other tests compare."""


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.slow if case in ALIKE else ()) for case in CASES],
)
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), affine=affines(max_spacing=2))
def test_intensity_transforms_of_chunks_equal_those_of_the_volume(case, data, affine):
    name, arguments = CASES[case]
    dtype = data.draw(st.sampled_from(["int16", "float32"]))
    shape = (data.draw(st.integers(1, 2)), *data.draw(st.tuples(*[st.integers(7, 14)] * 3)))
    scan, labels = volume(dtype, shape, seed=data.draw(st.integers(0, 99)))
    subject, _ = both(scan, labels, affine)
    chunks = data.draw(st.tuples(*[st.integers((n + 1) // 2, n) for n in shape]))
    chunked = vx.Subject({**subject, "t1": subject["t1"].rechunk(chunks)})
    transform = getattr(vx, name)(**arguments)
    result = transform(subject)["t1"]
    whole = result.numpy()
    lazy = transform(chunked)["t1"]
    # Statistics of other parts may differ in the last digit of a float64.
    np.testing.assert_allclose(lazy.numpy(), whole, rtol=1e-6, atol=1e-6 * np.abs(whole).max())
    fresh = transform(subject)["t1"]
    key = data.draw(index_expressions(shape))
    assert np.array_equal(fresh[key].numpy(), result[key].numpy())
    assert np.array_equal(fresh.rechunk(chunks).numpy(), whole)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".ome.zarr"])
def test_reads(tmp_path, suffix):
    scan, labels = volume("int16", (1, 40, 30, 20))
    vx.ScalarImage(tensor=scan).save(tmp_path / f"t1{suffix}")
    vx.LabelMap(tensor=labels).save(tmp_path / f"seg{suffix}")
    subject = vx.Subject(
        t1=vx.ScalarImage(tmp_path / f"t1{suffix}"), seg=vx.LabelMap(tmp_path / f"seg{suffix}")
    )
    needs = {"RescaleIntensity": 1, "ZNormalization": 1, "HistogramStandardization": 1}
    for case, (name, arguments) in CASES.items():
        cache.forget()
        method = arguments.get("masking_method")
        passes = needs.get(name, 0)
        if case in ("rescale-range",):
            passes = 0  # nothing need be known
        passes *= 1 if method is None else 2 if isinstance(method, str) else 3
        with count_reads() as reads:
            result = getattr(vx, name)(**arguments)(subject)
            assert repr(result["t1"])
            assert reads.voxels <= passes * scan.size, case
            assert reads.voxels >= scan.size or not passes, case
            before = reads.voxels
            getattr(vx, name)(**arguments)(subject)
            # Remembered, but for masks that a graph computes.
            assert reads.voxels == before or callable(method), case
            if suffix == ".nii":
                before = reads.voxels
                result["t1"][3:5, 4:6, 7:9].numpy()
                limit = scan.size + 99 if callable(method) or name == "Lambda" else 14 * 30 * 20
                assert reads.voxels - before <= (8 if name == "Clamp" else limit), case


def test_statistics_follow_from_those_before(tmp_path):
    for dtype, tolerance in (("int16", 0), ("float32", 1e-5)):
        scan, _ = volume(dtype, (1, 60, 50, 40))
        vx.ScalarImage(tensor=scan).save(tmp_path / f"{dtype}.nii")
        image = vx.ScalarImage(tmp_path / f"{dtype}.nii")
        pipeline = vx.Compose(
            [
                vx.Clamp(-100, 600),
                vx.RescaleIntensity(percentiles=(0.5, 99.5)),
                vx.ZNormalization(),
            ]
        )
        with count_reads() as reads:
            result = pipeline(image)
            assert reads.voxels == scan.size
        rescaled = vx.Compose(pipeline.transforms[:2])(image).numpy()
        expected = tio.ZNormalization()(tio.ScalarImage(tensor=rescaled)).numpy()
        np.testing.assert_allclose(result.numpy(), expected, atol=max(tolerance, 2e-6))
        exact = vx.ZNormalization()(vx.ScalarImage(tensor=rescaled)).numpy()
        np.testing.assert_allclose(result.numpy(), exact, atol=max(tolerance, 1e-6))


def test_numbers_go_with_the_graph(tmp_path):
    """What is sent to a worker holds the statistics: there nothing is read but the patch."""
    scan, _ = volume("int16", (1, 40, 30, 20))
    vx.ScalarImage(tensor=scan).save(tmp_path / "a.nii")
    result = vx.ZNormalization()(vx.ScalarImage(tmp_path / "a.nii"))
    sent = pickle.dumps((result, result.array))
    cache.forget()
    with count_reads() as reads:
        image, array = pickle.loads(sent)
        for corner in (image[:4, :4, :4].numpy(), np.asarray(array[:, :4, :4, :4])):
            assert np.array_equal(corner, result[:4, :4, :4].numpy())
    assert reads.voxels <= 3 * 64 + scan.size  # of the array, one block
    assert image.source.token() == result.source.token()


@pytest.mark.parametrize("case", CASES)
def test_all_kinds(case):
    name, arguments = CASES[case]
    if arguments.get("masking_method") == "seg" or "t1" in str(arguments):
        return  # needs other images, or a name
    scan, _ = volume("int16", (2, 9, 8, 7))
    transform = getattr(vx, name)(**arguments)
    image = vx.ScalarImage(tensor=scan)
    expected = transform(image).numpy()
    array = transform(vx.ScalarImage(tensor=scan).array)
    assert array.chunks is not None
    assert np.array_equal(array, expected)
    assert np.array_equal(transform(torch.from_numpy(scan)), expected)
    assert np.array_equal(transform({"a": image})["a"].numpy(), expected)
    assert json.dumps(transform(image).history)
    assert np.array_equal(pickle.loads(pickle.dumps(transform(image))).numpy(), expected)


def test_channels():
    """Statistics are of all channels together, as in TorchIO; masks of one channel are for all."""
    scan, labels = volume("float32", (3, 9, 8, 7))
    ours, theirs = both(scan, labels, np.eye(4))
    for name, arguments in (("ZNormalization", {}), ("Mask", {"masking_method": "seg"})):
        compare(name, arguments, ours, theirs)
    whole = np.broadcast_to(labels, scan.shape) > 0
    found = vx.ZNormalization("seg")(ours)["t1"].numpy()
    wide = scan.astype(float)
    expected = (wide - wide[whole].mean()) / wide[whole].std(ddof=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


# --- What is refused, and what is left alone -----------------------------------------------------


def image_of(voxels):
    return vx.ScalarImage(tensor=np.asarray(voxels).reshape(1, -1, 1, 1))


def test_constant_images():
    constant = image_of(np.full(9, 7, "int16"))
    with pytest.warns(RuntimeWarning, match="all the intensity values are the same"):
        result = vx.RescaleIntensity()(constant)
    assert np.array_equal(result.numpy(), constant.numpy())
    assert result.history == ()
    with pytest.raises(vx.StateError, match=r'Standard deviation is 0 .* "image"') as error:
        vx.ZNormalization()(constant)
    assert error.value.code == "CONSTANT"
    with pytest.raises(vx.StateError, match="needs two voxels"):
        vx.ZNormalization()(image_of([3.0]))


@pytest.mark.parametrize("magnitude", [1e300, 1e200, 1e-200])
def test_deviations_beyond_float64_are_refused(magnitude):
    values = np.arange(1, 9) * magnitude
    with pytest.raises(vx.StateError, match=r"standard deviation is (inf|0).*divide them") as error:
        vx.ZNormalization()(image_of(values))
    assert error.value.code == "NO_DEVIATION"
    found = vx.ZNormalization()(image_of(values / magnitude)).numpy()
    assert found.std(ddof=1) == pytest.approx(1)


@pytest.mark.parametrize(
    "transform",
    [
        vx.Clamp(0, 1),
        vx.Clamp(out_max=3),
        vx.RescaleIntensity(),
        vx.RescaleIntensity(in_min_max=(0, 4)),
        vx.ZNormalization(),
        vx.HistogramStandardization(LANDMARKS),
    ],
)
def test_complex_voxels_have_no_order(transform):
    with pytest.raises(vx.UnsupportedError, match=r"no order.*abs\(image.array\)") as error:
        transform(image_of(np.array([1 + 2j, 2, 3])))
    assert error.value.code == "UNSUPPORTED_DTYPE"


@pytest.mark.parametrize(
    "transform",
    [vx.RescaleIntensity(), vx.ZNormalization(), vx.HistogramStandardization(LANDMARKS)],
)
def test_voxels_that_are_no_numbers(transform):
    for bad in (np.nan, np.inf):
        image = image_of([1, 2, 3, bad])
        with pytest.raises(vx.StateError, match="1 of its voxels is NaN or infinite") as error:
            transform(image)
        assert error.value.code == "NOT_FINITE"
    chosen = vx.Subject(
        t1=image_of([1, 2, 3, np.nan]),
        seg=vx.LabelMap(tensor=np.array([1, 1, 1, 0], "u1").reshape(1, 4, 1, 1)),
    )
    transform = type(transform)(**{**transform.arguments, "masking_method": "seg"})
    assert np.isfinite(transform(chosen)["t1"].numpy()[0, :3]).all()
    if transform.name == "RescaleIntensity":
        ranged = vx.RescaleIntensity(in_min_max=(0, 4))(image_of([1, np.nan, 3.0]))
        np.testing.assert_array_equal(ranged.numpy().ravel(), np.float32([0.25, np.nan, 0.75]))


def test_masks_that_do_not_fit():
    image = vx.ScalarImage(tensor=np.arange(8.0).reshape(1, 2, 2, 2))
    other = vx.LabelMap(tensor=np.ones((1, 2, 2, 2), "u1"), affine=np.diag([1, 1, 3, 1.0]))
    subject = vx.Subject(t1=image, seg=other)
    for transform in (vx.ZNormalization("seg"), vx.Mask("seg")):
        with pytest.raises(vx.GridError, match="resample the mask onto the image") as error:
            transform(subject)
        assert error.value.code == "MASK_MISMATCH"
    for method, message in (
        (
            "brain",
            r"'brain' is not understood: give the name of a label map in the subject \('seg'\), a",
        ),
        (1.5, r"=1.5 is not understood: give the name of a label map in the subject \('seg'\)"),
        (lambda _: 3, "must return a dask or NumPy array"),
        (lambda x: x.clamp(0), r"failed: .*given a lazy dask array"),
    ):
        with pytest.raises(ValueError, match=message):
            vx.ZNormalization(method)(subject)
    with pytest.raises(vx.GridError, match="made a mask of shape"):
        vx.ZNormalization(lambda x: x[:, :1] > 0)(subject)
    empty = vx.Subject(t1=image, seg=vx.LabelMap(tensor=np.zeros((1, 2, 2, 2), "u1")))
    with pytest.warns(RuntimeWarning, match="the mask to compute the statistics is empty"):
        vx.RescaleIntensity(masking_method="seg")(empty)
    with pytest.raises(vx.StateError, match="mask leaves 0"):
        vx.ZNormalization("seg")(empty)
    with pytest.raises(vx.StateError, match="is empty"):
        vx.HistogramStandardization(LANDMARKS, "seg")(empty)


def test_types():
    small = image_of(np.arange(250, 256, dtype="uint8"))
    assert vx.Clamp(-5, 252)(small).dtype == np.dtype("uint8")
    assert vx.Clamp(-5, 252)(small).numpy().max() == 252
    assert np.array_equal(vx.Clamp(-5, 999)(small).numpy(), small.numpy())
    with pytest.raises(vx.UnsupportedError, match="does not hold"):
        vx.Clamp(300, 400)(small)
    for voxels, target in (
        ([300], "uint8"),
        ([-1.5], "uint8"),
        ([np.nan], "int16"),
        ([2**31], "i4"),
    ):
        with pytest.raises(vx.UnsupportedError, match="clamp or rescale them first") as error:
            vx.To(target)(image_of(np.array(voxels, "f8"))).numpy()
        assert error.value.code == "OUT_OF_TYPE"
    cut = vx.To(np.uint8)(image_of([-0.7, 0.7, 255.9]))
    assert cut.numpy().ravel().tolist() == [0, 0, 255]
    assert vx.To("uint8")(small).history == ()
    with pytest.raises(vx.UnsupportedError, match="does not fit uint8"):
        vx.Mask("Left", outside_value=-1)(small)
    with pytest.raises(vx.UnsupportedError, match="complex voxels"):
        vx.To("float32")(image_of(np.zeros(3, complex)))
    half = vx.To("float16")(image_of([1.5, 1e6])).array
    assert half.values.ravel().tolist() == [1.5, np.inf]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vx.RescaleIntensity((3, 1)), "ascending order"),
        (lambda: vx.RescaleIntensity(-1), "positive"),
        (lambda: vx.RescaleIntensity(percentiles=(0, 101)), "between 0 and 100"),
        (lambda: vx.RescaleIntensity(in_min_max="ab"), "one number or two"),
        (lambda: vx.Clamp(), "give a minimum, a maximum, or both"),
        (lambda: vx.Clamp(3, 1), "above the maximum"),
        (lambda: vx.Clamp(0, np.nan), "every voxel would become NaN"),
        (lambda: vx.Clamp(np.nan), "every voxel would become NaN"),
        (lambda: vx.Mask(None), "a mask is needed"),
        (lambda: vx.To("cuda"), "to_tensor"),
        (lambda: vx.To(torch.bfloat16), "a type of numbers that NumPy has"),
        (lambda: vx.To("int16", {"copy": True}), "means nothing"),
        (lambda: vx.Blur((1, 2)), "one number or three numbers in mm, at least 0"),
        (lambda: vx.Blur(-1), "one number or three numbers in mm, at least 0, not -1"),
        (lambda: vx.HistogramStandardization([1, 2, 3]), "13 ascending numbers"),
    ],
)
def test_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_functions():
    image = image_of([1, 2, 3.0])
    assert vx.Lambda(lambda x: x.clip(2, x.max()))(image).numpy().ravel().tolist() == [2, 2, 3]
    assert vx.Lambda(lambda x: np.ones(x.shape))(image).numpy().sum() == 3
    with pytest.raises(ValueError, match="must return a dask or NumPy array"):
        vx.Lambda(lambda x: x[0])(image)
    cube = vx.ScalarImage(tensor=np.ones((1, 4, 4, 4), "f4"))
    for changing in (lambda x: x[:, ::2], lambda _: np.ones((1, 4, 4, 1))):
        with pytest.raises(ValueError, match=r"for one of \(4, 4, 4\), whose affine"):
            vx.Lambda(changing)(cube)
    assert vx.Lambda(lambda x: x.repeat(2, axis=0))(cube).shape == (2, 4, 4, 4)
    with pytest.raises(TypeError, match="cannot be called"):
        vx.Lambda(3)
    assert "not recorded" in str(vx.Lambda(negated)(image).history)


def test_methods():
    image = image_of([1, 2, 3, 4, 5.0])
    assert image.clamp(2, 4).numpy().ravel().tolist() == [2, 2, 3, 4, 4]
    assert image.rescale_intensity((0, 4)).numpy().ravel().tolist() == [0, 1, 2, 3, 4]


# --- Histogram standardisation ------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_training_as_torchio(tmp_path, dtype):
    paths, masks = [], []
    for seed in range(3):
        scan, labels = volume(dtype, (1, 20, 19, 18), seed)
        paths.append(tmp_path / f"{seed}.nii")
        masks.append(tmp_path / f"mask{seed}.nii")
        vx.ScalarImage(tensor=scan * (1 + seed) + 3).save(paths[-1])
        vx.LabelMap(tensor=labels).save(masks[-1])
    for arguments in (
        {},
        {"cutoff": (0.05, 0.95)},
        {"mask_path": masks},
        {"mask_path": masks[0]},
        {"masking_function": above_mean},
    ):
        found = vx.HistogramStandardization.train(paths, progress=False, **arguments)
        if "masking_function" in arguments:
            arguments["masking_function"] = lambda x: above_mean(x).numpy()
        expected = tio.HistogramStandardization.train(paths, progress=False, **arguments)
        rtol = 1e-12 if dtype == "int16" else 1e-4
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-3 if rtol > 1e-9 else 1e-9)
    images = [vx.ScalarImage(path) for path in paths]
    trained = vx.HistogramStandardization.train(
        images, output_path=tmp_path / "marks.npy", progress=True
    )
    assert np.array_equal(np.load(tmp_path / "marks.npy"), trained)
    vx.HistogramStandardization.train(paths, output_path=tmp_path / "marks.txt", progress=False)
    assert (tmp_path / "marks.txt").read_text().startswith("image 0.0 ")
    np.savez(tmp_path / "all.npz", t1=trained, t2=trained + 1)
    subject = vx.Subject(t1=images[0])
    results = [
        vx.HistogramStandardization(given)(subject)["t1"].numpy()
        for given in (
            {"t1": trained},
            {"t1": tmp_path / "marks.npy"},
            tmp_path / "all.npz",
            str(tmp_path / "marks.npy"),
            trained.tolist(),
        )
    ]
    assert all(np.array_equal(one, results[0]) for one in results)
    with pytest.raises(KeyError, match='"t9" should be a key'):
        vx.HistogramStandardization({"t1": trained})(vx.Subject(t9=images[0]))


def test_training_refuses(tmp_path):
    scan, labels = volume("float32")
    image, mask = vx.ScalarImage(tensor=scan), vx.LabelMap(tensor=labels)
    train = vx.HistogramStandardization.train
    for arguments, message in (
        ({"images_paths": []}, "at least one image"),
        ({"images_paths": [image], "cutoff": (0.5, 0.6)}, "below 0.1"),
        ({"images_paths": [image], "mask_path": [mask, mask]}, "but 2 of masks"),
    ):
        with pytest.raises(ValueError, match=message):
            train(**arguments, progress=False)
    with pytest.raises(vx.StateError, match="cannot be used for training"):
        train([vx.ScalarImage(tensor=scan * np.nan)], progress=False)
    pickled = tmp_path / "a.pt"
    torch.save({"t1": LANDMARKS}, pickled)
    with pytest.raises(vx.UnsupportedError, match="can run code"):
        vx.HistogramStandardization(pickled)
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(vx.FormatError, match="holds no landmarks"):
        vx.HistogramStandardization(tmp_path / "objects.npy")
    with pytest.raises(vx.UnsupportedError, match=r"written as \.npy or \.txt"):
        train([image], output_path=tmp_path / "a.pt", progress=False)


@pytest.mark.parametrize("name", ["ZNormalization", "RescaleIntensity"])
def test_the_mean_of_torchio_scripts_is_a_masking_method(name):
    scan = vx.testing.sample()
    masked = {}
    for library in (vx, tio):
        kind = getattr(library, name)
        image = scan if library is vx else scan.to_torchio()
        masked[library] = kind(masking_method=library.ZNormalization.mean)(image).numpy()
    np.testing.assert_allclose(masked[vx], masked[tio], atol=1e-5)
    assert pickle.loads(pickle.dumps(vx.ZNormalization(vx.ZNormalization.mean)))


@pytest.mark.parametrize(
    "move",
    [lambda one: vx.Flip("Left")(one), lambda one: _placed(one, np.diag([2.0, 3, 4, 1]))],
    ids=["flip", "affine"],
)
@pytest.mark.parametrize("first", [vx.Clamp(0.1, 0.9), vx.ZNormalization(), vx.To("float64")])
def test_a_mask_after_a_change_of_the_affine_of_changed_intensities(first, move):
    voxels = np.random.default_rng(0).random((1, 4, 5, 6)).astype("f4")
    image = vx.ScalarImage(tensor=voxels)
    mask = vx.LabelMap(tensor=(voxels > 0.3).astype("u1"))
    subject = vx.Subject(t1=move(first(image)), seg=move(mask))
    done = vx.ZNormalization("seg")(subject).t1.numpy()
    inside = done[subject.seg.numpy() > 0]
    assert abs(inside.mean()) < 1e-4
    assert inside.std(ddof=1) == pytest.approx(1, abs=1e-4)


def _placed(image, affine):
    image.affine = affine
    return image


# --- Numbers that float32 cannot tell apart -------------------------------------------------------


@pytest.mark.parametrize("offset", [0, 2**24, 10**9])
@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64", "float64"])
def test_small_differences_of_large_numbers(dtype, offset):
    """The mean is subtracted before the result is rounded to float32."""
    differences = np.random.default_rng(0).integers(0, 60, (1, 6, 7, 8))
    image = vx.ScalarImage(tensor=(offset + differences).astype(dtype))
    wide = differences.astype(float)
    normal = (wide - wide.mean()) / wide.std(ddof=1)
    found = vx.ZNormalization()(image).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, normal, atol=1e-5)
    ranged = wide / wide.max() * 3 - 1
    np.testing.assert_allclose(
        vx.RescaleIntensity((-1, 2))(image).numpy(), ranged, atol=1e-5, rtol=1e-5
    )
    given_range = vx.RescaleIntensity((-1, 2), in_min_max=(offset, offset + wide.max()))
    np.testing.assert_allclose(given_range(image).numpy(), ranged, atol=1e-5, rtol=1e-5)
    # Statistics of the first result follow from those of the image, whose intervals are too wide.
    for first in (vx.RescaleIntensity((-1, 2)), vx.RescaleIntensity((0, 9), (0, 100))):
        both = vx.Compose([first, vx.ZNormalization()])(image)
        np.testing.assert_allclose(both.numpy(), normal, atol=1e-4)
    twice = vx.Compose([vx.ZNormalization(), vx.RescaleIntensity((-1, 2))])(image)
    np.testing.assert_allclose(twice.numpy(), ranged, atol=1e-4)


def test_statistics_that_follow_from_float32_far_from_zero():
    voxels = (1e5 + np.random.default_rng(0).normal(size=(1, 16, 16, 16))).astype(np.float32)
    image = vx.ScalarImage(tensor=voxels)
    cut = vx.RescaleIntensity((0, 1), in_min_max=(1e5 - 1, 1e5 + 1))
    for derived in (cut(image), vx.ZNormalization()(image), vx.Clamp(1e5 - 1, 1e5 + 1)(image)):
        found, expected = derived.statistics(), derived.numpy().astype(float)
        within = 2.0**-10 * expected.std()
        np.testing.assert_allclose(found.mean, expected.mean(), rtol=0, atol=within)
        np.testing.assert_allclose(found.std, expected.std(), rtol=0, atol=within)


def test_percentiles_of_a_field_map():
    """Hertz around the frequency of the scanner: 100 of 123 million."""
    voxels = 123.2e6 + 100 * np.random.default_rng(0).normal(size=(1, 20, 20, 20))
    low, high = np.percentile(voxels, (1, 99))
    expected = np.clip((voxels - low) / (high - low), 0, 1)
    found = vx.RescaleIntensity((0, 1), percentiles=(1, 99))(vx.ScalarImage(tensor=voxels))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)


def test_a_mean_between_two_numbers_of_float32():
    voxels = (1e8 + 100 * np.random.default_rng(0).normal(size=(1, 16, 16, 16))).astype(np.float32)
    wide = voxels.astype(float)
    expected = (wide - wide.mean()) / wide.std(ddof=1)
    found = vx.ZNormalization()(vx.ScalarImage(tensor=voxels)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("dtype", "largest"), [("float32", 3e38), ("float64", 1.7e308)])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [0, 0.25, 0.5, 0.75, 1]),
        ({"out_min_max": 3e38}, [-3e38, -1.5e38, 0, 1.5e38, 3e38]),
        ({"percentiles": (25, 75)}, [0, 0, 0.5, 1, 1]),
        ({"in_min_max": 0.5}, [-0.5, 0, 0.5, 1, 1.5]),
    ],
)
def test_a_range_wider_than_the_largest_number_is_rescaled(dtype, largest, arguments, expected):
    voxels = (np.array([-1, -0.5, 0, 0.5, 1]) * largest).astype(dtype)
    if "in_min_max" in arguments:
        arguments = {"in_min_max": arguments["in_min_max"] * largest}
    image = vx.ScalarImage(tensor=np.repeat(voxels, 3).reshape(1, 5, 3, 1))
    result = vx.RescaleIntensity(**arguments)(image)
    scale = max(map(abs, expected))
    np.testing.assert_allclose(
        result.numpy()[0, :, 0, 0] / scale, np.array(expected) / scale, atol=1e-4
    )
    assert result.statistics().maximum == pytest.approx(max(expected))


@pytest.mark.filterwarnings("error")
def test_a_range_of_intensities_beyond_the_type_of_voxels():
    image = vx.ScalarImage(tensor=np.full((1, 2, 2, 2), 3e38, "f4"))
    result = vx.RescaleIntensity(in_min_max=(-6e38, 6e38))(image)
    np.testing.assert_allclose(result.numpy(), 0.75)


@pytest.mark.filterwarnings("error")
def test_a_range_beyond_the_type_of_the_result_is_refused():
    with pytest.raises(ValueError, match=r"out_min_max must be within float32.*1e\+39"):
        vx.RescaleIntensity((0, 1e39))


def test_rescaled_huge_values_are_normalised_by_their_own_deviation():
    voxels = np.linspace(-1, 1, 27).reshape(1, 3, 3, 3) * 1e200
    image = vx.ScalarImage(tensor=voxels)
    result = vx.Compose([vx.RescaleIntensity(), vx.ZNormalization()])(image).numpy()
    np.testing.assert_allclose(result, voxels / voxels.std(ddof=1, dtype=np.longdouble), atol=1e-3)
