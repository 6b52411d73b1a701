"""What is read, and run, before a prediction begins, and what is known of a mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import voxarray as vx
from voxarray.inference.monai_transforms import CropForeground


def bright(patch):
    return torch.cat([0.5 - patch[:, :1], patch[:, :1] - 0.5], 1)


class Counted:
    """Crops as a bundle does, which reads voxels, and counts how often."""

    def __init__(self):
        self.calls = []

    def __getstate__(self):
        return {}

    @property
    def args_names(self):
        return ()

    version = 1

    def __call__(self, subject):
        self.calls.append(1)
        return CropForeground()(subject)


@pytest.fixture
def archive(tmp_path):
    voxels = np.zeros((1, 20, 18, 16), np.float32)
    voxels[:, 3:12, 4:15, 2:13] = np.random.default_rng(0).random((1, 9, 11, 11)) + 0.01
    vx.convert(vx.ScalarImage(tensor=voxels), tmp_path / "scan.ome.zarr")
    return tmp_path / "scan.ome.zarr"


@pytest.fixture
def cohort(tmp_path):
    (tmp_path / "scans").mkdir()
    for number in range(2):
        voxels = np.random.default_rng(number).random((1, 12, 11, 10), np.float32)
        vx.ScalarImage(tensor=voxels).save(tmp_path / "scans" / f"sub-{number}.nii.gz")
    vx.convert_cohort(tmp_path / "scans", tmp_path / "cohort", progress=False)
    return vx.Cohort(tmp_path / "cohort")


def test_layers_that_are_there_are_found_by_headers_alone(cohort):
    crop, runs = Counted(), []

    def model(patch):
        runs.append(1)
        return bright(patch)

    options = {"patch_size": 8, "preprocess": crop, "progress": False}
    vx.infer(model, cohort, **options)
    assert (len(crop.calls), len(runs) > 4) == (2, True)
    before = len(runs)
    with vx.testing.count_reads() as reads:
        vx.infer(model, vx.Cohort(cohort.path), **options)
    assert (len(crop.calls), len(runs), reads.voxels) == (2, before, 0)
    with pytest.raises(vx.VoxarrayError, match="NAME_TAKEN"):
        vx.infer(model, vx.Cohort(cohort.path), overlap=0, **options)


def test_a_layer_of_a_function_that_holds_another_number_is_another(cohort):
    def with_spacing(size):
        return lambda subject: vx.Resample(size)(subject)

    options = {"patch_size": 8, "progress": False}
    vx.infer(bright, cohort, preprocess=with_spacing(1), **options)
    vx.infer(bright, vx.Cohort(cohort.path), preprocess=with_spacing(1), **options)
    with pytest.raises(vx.VoxarrayError, match="NAME_TAKEN"):
        vx.infer(bright, vx.Cohort(cohort.path), preprocess=with_spacing(2), **options)


def test_a_bundle_that_crops_is_asked_once_for_a_scan(archive, tmp_path):
    crop = Counted()
    vx.infer(bright, archive, tmp_path / "a.nii", patch_size=8, preprocess=crop)
    assert len(crop.calls) == 1
    scan = vx.ScalarImage(archive)
    np.testing.assert_array_equal(vx.LabelMap(tmp_path / "a.nii").numpy(), scan.numpy() > 0.5)


def masked_by_name(subject):
    return vx.ZNormalization(masking_method="brain")(subject)


@pytest.mark.parametrize(
    "preprocess",
    [
        vx.ZNormalization(masking_method="brain"),
        vx.Compose([vx.Clamp(0, 1), vx.ZNormalization(masking_method="brain")]),
        masked_by_name,
    ],
    ids=["transform", "compose", "function"],
)
def test_a_mask_in_the_scans_own_archive_is_part_of_the_provenance(archive, preprocess):
    voxels = vx.ScalarImage(archive).numpy()
    labels = vx.Archive(archive)
    made = []
    for number, least in enumerate((0.0, 0.3)):
        mask = vx.LabelMap(tensor=(voxels > least).astype(np.uint8))
        labels.add_labels("brain", mask)
        labels.add_labels(f"other{number}", mask)  # nobody asks for this one
        subject = vx.Subject(t1=vx.ScalarImage(archive), brain=labels.labels["brain"])
        for name in (f"a{number}", f"b{number}"):
            found = vx.infer(bright, subject, patch_size=8, preprocess=preprocess, layer=name)
            steps = [s for s in found.history if s["operation"] == "infer"]
            made.append(steps[-1]["arguments"].get("images"))
        labels.remove_labels("brain")
    assert made[0] == made[1] != made[2] == made[3]
    assert list(made[0]) == ["brain"]


def test_a_mask_is_not_replaced_by_the_prediction(archive, tmp_path):
    voxels = vx.ScalarImage(archive).numpy()
    vx.LabelMap(tensor=(voxels > 0).astype(np.uint8)).save(tmp_path / "brain.nii")
    subject = vx.Subject(t1=vx.ScalarImage(archive), brain=vx.LabelMap(tmp_path / "brain.nii"))
    with pytest.raises(vx.StateError) as caught:
        vx.infer(
            bright,
            subject,
            tmp_path / "brain.nii",
            patch_size=8,
            preprocess=vx.ZNormalization(masking_method="brain"),
            overwrite=True,
        )
    assert caught.value.code == "OWN_SOURCE"
