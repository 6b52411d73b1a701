"""nilearn on ``to_nibabel()``: what it makes of files of its own accord, to the last bit."""

from __future__ import annotations

import warnings

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import voxarray as vx

glm = pytest.importorskip("nilearn.glm.first_level")
images = pytest.importorskip("nilearn.image")
maskers = pytest.importorskip("nilearn.maskers")

AFFINE = np.array([[-3.0, 0.1, 0, 40], [0.1, 3, -0.2, -50], [0, 0.2, 3.5, -30], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A time series in three forms, a mask, labels and maps."""
    folder = tmp_path_factory.mktemp("nilearn")
    rng = np.random.default_rng(0)
    shape = (14, 15, 12)
    signal = 100 + 10 * np.sin(np.arange(40) / 3) * (rng.random(shape) > 0.5)[..., None]
    series = nib.Nifti1Image((signal + rng.normal(0, 2, (*shape, 40))).astype("float32"), AFFINE)
    series.header.set_xyzt_units("mm", "sec")
    series.header.set_zooms((*series.header.get_zooms()[:3], 2.0))
    nib.save(series, folder / "bold.nii.gz")
    integers = nib.Nifti1Image(np.rint(series.get_fdata()).astype("int16"), AFFINE, series.header)
    integers.header.set_data_dtype("int16")
    integers.header.set_slope_inter(0.5, 3)
    nib.save(integers, folder / "scaled.nii")
    mask = np.zeros(shape, "uint8")
    mask[3:11, 3:12, 2:10] = 1
    nib.save(nib.Nifti1Image(mask, AFFINE), folder / "mask.nii.gz")
    labels = mask * (1 + np.indices(shape)[0] // 5).astype("uint8")
    nib.save(nib.Nifti1Image(labels, AFFINE), folder / "labels.nii.gz")
    maps = rng.random((*shape, 3)).astype("float32") * mask[..., None]
    nib.save(nib.Nifti1Image(maps, AFFINE), folder / "maps.nii.gz")
    for name in ("bold", "scaled"):
        source = next(folder.glob(f"{name}.nii*"))
        vx.ScalarImage(source).save(folder / f"{name}.ome.zarr")
    return folder


def ours(path):
    kind = vx.LabelMap if path.name.startswith(("mask", "labels")) else vx.ScalarImage
    return kind(path).to_nibabel()


MASKERS = {
    "NiftiMasker": lambda f, take: maskers.NiftiMasker(mask_img=take(f / "mask.nii.gz")),
    "NiftiMasker, smoothed": lambda f, take: maskers.NiftiMasker(
        mask_img=take(f / "mask.nii.gz"),
        smoothing_fwhm=6,
        standardize="zscore_sample",
        detrend=True,
    ),
    "NiftiLabelsMasker": lambda f, take: maskers.NiftiLabelsMasker(take(f / "labels.nii.gz")),
    "NiftiMapsMasker": lambda f, take: maskers.NiftiMapsMasker(take(f / "maps.nii.gz")),
    "NiftiSpheresMasker": lambda f, take: maskers.NiftiSpheresMasker(
        [(20, -30, -10)], radius=8, mask_img=take(f / "mask.nii.gz")
    ),
}


@pytest.mark.parametrize("name", MASKERS)
@pytest.mark.parametrize("series", ["bold.nii.gz", "scaled.nii", "bold.ome.zarr"])
def test_maskers(files, name, series):
    reference = "scaled.nii" if series.startswith("scaled") else "bold.nii.gz"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = MASKERS[name](files, str).fit_transform(str(files / reference))
        found = MASKERS[name](files, ours).fit_transform(ours(files / series))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("series", ["bold.nii.gz", "scaled.nii", "scaled.ome.zarr"])
def test_first_level_model(files, series):
    events = pd.DataFrame({"onset": [0, 20, 40], "duration": 8.0, "trial_type": "a"})
    reference = "scaled.nii" if series.startswith("scaled") else "bold.nii.gz"
    results = []
    for take, name in ((str, reference), (ours, series)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = glm.FirstLevelModel(
                t_r=2, mask_img=take(files / "mask.nii.gz"), smoothing_fwhm=5
            )
            fitted = model.fit(take(files / name), events)
            results.append(fitted.compute_contrast("a").get_fdata())
    np.testing.assert_allclose(results[1], results[0], rtol=1e-4, atol=1e-4)


OPERATIONS = {
    "mean_img": lambda image: images.mean_img(image, copy_header=True),
    "smooth_img": lambda image: images.smooth_img(image, 5),
    "crop_img": lambda image: images.crop_img(image, copy_header=True),
    "index_img": lambda image: images.index_img(image, slice(3, 9)),
    "clean_img": lambda image: images.clean_img(image, t_r=2, high_pass=0.01),
    "concat_imgs": lambda image: images.concat_imgs([image, image]),
    "resample_img": lambda image: images.resample_img(
        image, np.diag([4, 4, 4]), force_resample=True, copy_header=True
    ),
    "reorder_img": lambda image: images.reorder_img(image, resample="linear", copy_header=True),
    "math_img": lambda image: images.math_img("np.sqrt(np.abs(a))", a=image),
    "threshold_img": lambda image: images.threshold_img(image, 100, copy_header=True),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_on_images(files, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = OPERATIONS[name](str(files / "bold.nii.gz"))
        found = OPERATIONS[name](ours(files / "bold.nii.gz"))
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-6)
    np.testing.assert_allclose(found.get_fdata(), expected.get_fdata(), rtol=1e-5, atol=1e-4)
    back = vx.ScalarImage.from_nibabel(found)
    np.testing.assert_allclose(back.affine, found.affine)
