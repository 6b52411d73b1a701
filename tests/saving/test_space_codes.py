"""What is made of a scan lies in the scan's space: the codes of its NIfTI header say so."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import voxarray as vx

CODES = [(4, 4), (2, 0), (0, 3), (0, 0)]
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def written(path, codes):
    voxels = np.random.default_rng(0).integers(0, 600, (12, 10, 8)).astype(np.int16)
    image = nib.Nifti1Image(voxels, AFFINE)
    image.set_sform(AFFINE, codes[0])
    image.set_qform(AFFINE, codes[1])
    image.header["cal_max"] = 600
    nib.save(image, path)
    return vx.ScalarImage(path)


def codes_of(path):
    header = nib.load(path).header
    return int(header["sform_code"]), int(header["qform_code"])


def bright(patches):
    return torch.cat([300 - patches, patches - 300], dim=1)


def added_up(scan):
    sampler = vx.GridSampler(vx.Subject(t1=scan), 8, 2)
    aggregator = vx.GridAggregator(sampler)
    for batch in DataLoader(sampler, batch_size=4):
        aggregator.add_batch(batch["t1"]["data"], batch["location"])
    return aggregator


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("output", ["labels", "probabilities"])
@pytest.mark.parametrize("preprocess", [None, vx.Resample(3)], ids=["as it is", "resampled"])
def test_predictions_keep_the_codes(tmp_path, codes, output, preprocess):
    scan = written(tmp_path / "scan.nii.gz", codes)
    options = {"output": output, "activation": "softmax", "preprocess": preprocess}
    made = vx.infer(bright, scan, tmp_path / "made.nii.gz", patch_size=8, **options)
    assert codes_of(tmp_path / "made.nii.gz") == codes
    np.testing.assert_array_equal(made.affine, scan.affine)
    if output == "probabilities":  # channels are the fifth axis
        assert nib.load(tmp_path / "made.nii.gz").shape == (12, 10, 8, 1, 2)
    # Of the scan's intensities the header of others says nothing.
    assert nib.load(tmp_path / "made.nii.gz").header["cal_max"] == 0


@pytest.mark.parametrize("codes", CODES)
def test_layers_and_cohorts_of_predictions_keep_the_codes(tmp_path, codes):
    (tmp_path / "scans").mkdir()
    scan = written(tmp_path / "scans" / "a.nii.gz", codes)
    scan.save(tmp_path / "scan.ome.zarr")
    vx.infer(bright, tmp_path / "scan.ome.zarr", patch_size=8).save(tmp_path / "layer.nii.gz")
    assert codes_of(tmp_path / "layer.nii.gz") == codes
    vx.convert_cohort(tmp_path / "scans", tmp_path / "cohort", progress=False)
    cohort = vx.Cohort(tmp_path / "cohort")
    made = vx.infer(bright, cohort, tmp_path / "predictions", patch_size=8, progress=False)
    made[0]["prediction"].save(tmp_path / "of_cohort.nii.gz")
    assert codes_of(tmp_path / "of_cohort.nii.gz") == codes


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize(
    "make",
    [
        lambda scan: scan.rechunk((1, 5, 5, 5)),
        lambda scan: scan.persist(),
        lambda scan: scan.compute(),
        lambda scan: vx.Lambda(lambda voxels: voxels + 1)(scan),
        lambda scan: added_up(scan).get_output_image(),
        added_up,
    ],
    ids=["rechunk", "persist", "compute", "Lambda", "aggregated", "aggregated and saved"],
)
def test_whatever_is_made_of_all_voxels_keeps_the_codes(tmp_path, codes, make):
    make(written(tmp_path / "scan.nii.gz", codes)).save(tmp_path / "made.nii.gz")
    assert codes_of(tmp_path / "made.nii.gz") == codes


@pytest.mark.parametrize("make", ["persist", "rechunk", "compute"])
def test_label_names_survive_dask_and_memory(tmp_path, make):
    labels = vx.LabelMap(tensor=np.ones((1, 6, 6, 6), np.uint8))
    scan = vx.ScalarImage(tensor=np.zeros((1, 6, 6, 6), np.float32))
    scan.save(tmp_path / "a.ome.zarr")
    layer = vx.Archive(tmp_path / "a.ome.zarr").add_labels("seg", labels, names={1: "liver"})
    made = layer.rechunk((1, 3, 3, 3)) if make == "rechunk" else getattr(layer, make)()
    assert [one.name for one in made.source.label_table] == ["liver"]
