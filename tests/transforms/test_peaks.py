"""Memory of every public operation, in fresh processes, on scans of several times the budget."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import voxarray as vx
from voxarray.testing.peak_memory import can_measure, peak_above_imports
from voxarray.transforms import __all__ as PUBLIC

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_measure(), reason="peaks are read from Linux's /proc"),
]

MIB = 1 << 20
BUDGET = 352 * MIB
TIMES = 2
"""Voxels of the scans, as a multiple of the budget."""

SCANS = {
    "Affine": "vx.Affine(1.1, (0, 0, 10), 3)",
    "Blur": "vx.Blur(1)",
    "Clamp": "vx.Clamp(20, 150)",
    "Compose": "vx.Compose([vx.RescaleIntensity(percentiles=(1, 99)), vx.ZNormalization()])",
    "Crop": "vx.Crop(3)",
    "CropOrPad": "vx.CropOrPad((500, 530, 1000))",
    "CropOrPad to a mask": "vx.CropOrPad(mask_name='seg')",
    "EnsureShapeMultiple": "vx.EnsureShapeMultiple(100)",
    "Flip": "vx.Flip((0, 2))",
    "HistogramStandardization": "vx.HistogramStandardization(np.linspace(0, 100, 13))",
    "Lambda": "vx.Lambda(lambda x: -x)",
    "Lambda of a reduction": "vx.Lambda(lambda x: x.clip(0, x.max() - 1))",
    "Mask": "vx.Mask('seg')",
    "Mask by a function": "vx.Mask(lambda x: x > x.mean())",
    "Pad": "vx.Pad(5, 'reflect')",
    "Pad by a statistic": "vx.Pad(5, 'mean')",
    "Resample": "vx.Resample(1.1)",
    "Resample, splines": "vx.Resample(1.3, image_interpolation='bspline')",
    "Resample, oblique": "vx.Resample(((300, 310, 320), Rz @ np.diag([2, 2, 2, 1.0])))",
    "Resample, smoothed": "vx.Resample(3, antialias=True)",
    "RescaleIntensity": "vx.RescaleIntensity(masking_method='seg')",
    "Resize": "vx.Resize((200, 210, 220))",
    "To": "vx.To('float32')",
    "ToCanonical": "vx.ToCanonical()",
    "ToOrientation": "vx.ToOrientation('SPL')",
    "Transpose": "vx.Transpose()",
    "ZNormalization": "vx.ZNormalization()",
    "ZNormalization by a function": "vx.ZNormalization(lambda x: x > x.mean())",
}
LABELS = {
    "Contour": "vx.Contour()",
    "KeepLargestComponent": "vx.KeepLargestComponent()",
    "OneHot": "vx.OneHot(3)",
    "RemapLabels": "vx.RemapLabels({1: 5})",
    "RemoveLabels": "vx.RemoveLabels([1], masking_method='Left')",
    "Resample": "vx.Resample(1.1)",
    "Resample, smoothed": "vx.Resample(1.7, label_interpolation='label_gaussian')",
    "SequentialLabels": "vx.SequentialLabels()",
}
NOT_OPERATIONS = {
    *("IntensityTransform", "LabelTransform", "NormalizationTransform", "SpatialTransform"),
    *("Transform", "replay"),
}

SETUP = """
import numpy as np, voxarray as vx
Rz = np.array([[0.8, -0.6, 0, 100], [0.6, 0.8, 0, -80], [0, 0, 1, 0], [0, 0, 0, 1.0]])
def subject(name):
    path = {folder!r} + "/" + name
    return vx.Subject(scan=vx.ScalarImage(path + ".nii"), seg=vx.LabelMap(path + "-seg.nii"))
def run(name, transform, kind, suffix=".ome.zarr"):
    transform(subject(name))[kind].save({folder!r} + "/out" + suffix, overwrite=True)
"""
ENVIRONMENT = {"DASK_VOXARRAY__MEMORY_BUDGET": str(BUDGET)}


def test_every_operation_is_measured():
    assert {key.split()[0].rstrip(",") for key in {**SCANS, **LABELS}} == {*PUBLIC} - NOT_OPERATIONS


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two pairs of a scan and labels: tiny ones to warm up with, and large ones."""
    folder = tmp_path_factory.mktemp("peaks")
    noise = np.random.default_rng(0)
    plane = noise.integers(1, 200, (512, 512)).astype("int16")
    labels = (gaussian_filter(noise.normal(size=(512, 512)), 8) > 0).astype("u1")
    for name, depth in (("tiny", 4), ("large", TIMES * BUDGET // plane.nbytes)):
        for suffix, one, kind in (("", plane, vx.ScalarImage), ("-seg", labels, vx.LabelMap)):
            voxels = np.broadcast_to(one[None, :, :, None], (1, 512, 512, depth))
            kind(tensor=voxels, affine=np.diag([-1, -1, 1, 1.0])).save(
                folder / f"{name}{suffix}.nii"
            )
    return folder


def measured(folder, code, kind, suffix=".ome.zarr") -> None:
    setup = SETUP.format(folder=str(folder)) + f"run('tiny', vx.Lambda(lambda x: x), {kind!r})\n"
    statement = f"run('large', {code}, {kind!r}, {suffix!r})"
    peak = peak_above_imports(setup, statement, environment=ENVIRONMENT)
    print(f"{code} {suffix}: {peak.bytes / MIB:.1f} MiB in {peak.seconds:.2f} s")
    assert peak.bytes <= BUDGET


@pytest.mark.parametrize("code", SCANS.values(), ids=SCANS)
def test_peak_of_scans(folder, code):
    measured(folder, code, "scan")


@pytest.mark.parametrize("code", LABELS.values(), ids=LABELS)
def test_peak_of_labels(folder, code):
    measured(folder, code, "seg")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd"])
def test_peak_of_files(folder, suffix):
    measured(folder, SCANS["Compose"], "scan", suffix)
    measured(folder, SCANS["Resample, oblique"], "scan", suffix)


@pytest.mark.parametrize(
    "code",
    [
        "image.statistics_by_label(labels)",
        "image.statistics(labels)",
        "vx.HistogramStandardization.train([image, image], mask_path=labels, progress=False)",
    ],
)
def test_peak_of_statistics(folder, code):
    setup = SETUP.format(folder=str(folder))
    statement = f"one = subject('large'); image, labels = one['scan'], one['seg']; {code}"
    peak = peak_above_imports(setup, statement, environment=ENVIRONMENT)
    print(f"{code}: {peak.bytes / MIB:.1f} MiB in {peak.seconds:.2f} s")
    assert peak.bytes <= BUDGET


def test_what_is_freed_between_blocks_is_not_held(tmp_path):
    """Without the environment's help, and beside what was projected of the voxels alone."""
    noise = np.random.default_rng(0).normal(size=(1, 256, 256, 4)).astype("f4")
    labels = (gaussian_filter(noise, 2) * 9).clip(0, 2).astype("u1")
    vx.LabelMap(tensor=np.tile(labels, 64)).save(tmp_path / "seg.ome.zarr")
    vx.LabelMap(tensor=labels).save(tmp_path / "tiny.ome.zarr")
    setup = f"""
import voxarray as vx
def run(name):
    labels = vx.OneHot(3)(vx.LabelMap({str(tmp_path)!r} + name))
    labels.save({str(tmp_path)!r} + "/out.ome.zarr", overwrite=True)
run("/tiny.ome.zarr")
"""
    peak = peak_above_imports(setup, "run('/seg.ome.zarr')")
    print(f"{peak.bytes / MIB:.1f} MiB")
    assert peak.bytes <= 64 * MIB
