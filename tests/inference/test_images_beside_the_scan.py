"""Images of a subject that the network is not shown have no say in its prediction."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import voxarray as vx
from voxarray.inference.bundle_transforms import Spacing

SHAPE = (1, 12, 14, 10)


def bright(patch):
    return torch.cat([0.5 - patch[:, :1], patch[:, :1] - 0.5], 1)


def scan(seed=0):
    return vx.ScalarImage(tensor=np.random.default_rng(seed).random(SHAPE, np.float32))


def coarse(number=1):
    """A label map on another grid, of a part of the scan."""
    voxels = np.full((1, 4, 4, 3), number, np.uint8)
    return vx.LabelMap(tensor=voxels, affine=np.diag([2, 2, 2, 1]))


@pytest.fixture
def convert(tmp_path):
    (tmp_path / "scans").mkdir()
    scan().save(tmp_path / "scans" / "a_t1.nii.gz")

    def convert(*labels):
        for number, name in enumerate(labels, 1):
            path = tmp_path / "scans" / f"a_{name}.nii.gz"
            if not path.exists():
                coarse(number).save(path)
        vx.convert_cohort(
            tmp_path / "scans",
            tmp_path / "cohort",
            image_patterns={"t1": "*_t1.nii.gz"},
            label_patterns={name: f"*_{name}.nii.gz" for name in labels},
            progress=False,
        )
        return vx.Cohort(tmp_path / "cohort")

    return convert


def test_a_layer_is_kept_when_a_label_map_on_another_grid_comes(convert):
    given = {"patch_size": 8, "progress": False, "preprocess": vx.Clamp(0, 1), "layer": "made"}
    first = vx.infer(bright, convert("seg"), **given)[0].made.numpy()
    again = vx.infer(bright, convert("seg", "lobes"), **given)
    assert set(again[0].get_images_dict(intensity_only=False)) == {"t1", "seg", "lobes", "made"}
    np.testing.assert_array_equal(again[0].made.numpy(), first)


def test_a_label_map_that_preprocessing_asks_for_counts(convert, tmp_path):
    seen = vx.Compose([vx.Resample("t1"), vx.Mask("seg")])
    given = {"patch_size": 8, "progress": False, "preprocess": seen, "layer": "made"}
    for _ in range(2):
        vx.infer(bright, convert("seg"), **given)
    voxels = np.zeros((1, 4, 4, 3), np.uint8)
    other = vx.LabelMap(tensor=voxels, affine=np.diag([2, 2, 2, 1]))
    other.save(tmp_path / "scans" / "a_seg.nii.gz", overwrite=True)
    with pytest.raises(vx.VoxarrayError, match=r"NAME_TAKEN.*other images"):
        vx.infer(bright, convert("seg"), **given)


@pytest.mark.parametrize(
    "preprocess",
    [vx.ZNormalization(masking_method="typo"), vx.Compose([vx.ToCanonical(), vx.Mask("typo")])],
)
def test_a_mask_that_does_not_exist_is_told_with_those_that_do(convert, tmp_path, preprocess):
    given = {"patch_size": 8, "progress": False, "preprocess": preprocess}
    told = r"'typo' is not understood: .* label map in the subject \('lobes', 'seg'\)"
    subject = convert("seg", "lobes")[0]
    with pytest.raises(vx.FormatError, match=told) as caught:
        vx.infer(bright, subject, tmp_path / "a.nii", **given)
    assert caught.value.code == "CANNOT_TRANSFORM"
    alone = vx.Subject(t1=subject.t1)
    with pytest.raises(vx.FormatError, match=r"label map in the subject \(none\)"):
        vx.infer(bright, alone, tmp_path / "a.nii", **given)


@pytest.mark.parametrize(
    "preprocess", [vx.CropOrPad(16), vx.EnsureShapeMultiple(8), Spacing((1, 1, 1), "linear")]
)
def test_the_grid_of_other_images_does_not_matter(tmp_path, preprocess):
    given = {"patch_size": 8, "progress": False, "preprocess": preprocess}
    alone = vx.infer(bright, scan(), tmp_path / "alone.nii", **given)
    subject = vx.Subject(seg=coarse(), t1=scan())
    beside = vx.infer(bright, subject, tmp_path / "beside.nii", channels=["t1"], **given)
    np.testing.assert_array_equal(beside.numpy(), alone.numpy())
    np.testing.assert_array_equal(beside.numpy(), scan().numpy() > 0.5)


def test_functions_are_given_all_images(tmp_path):
    seen = []

    def preprocess(subject):
        seen.append(sorted(subject))
        return subject

    subject = vx.Subject(seg=coarse(), t1=scan(), age=43)
    vx.infer(bright, subject, tmp_path / "a.nii", patch_size=8, preprocess=preprocess)
    assert seen == [["age", "seg", "t1"]]


def test_channels_on_two_grids_are_named(tmp_path):
    subject = vx.Subject(t1=scan(), seg=coarse())
    with pytest.raises(vx.StateError, match=r"'t1' and 'seg'.*preprocess=vx.Resample\('t1'\)"):
        vx.infer(bright, subject, tmp_path / "a.nii", patch_size=8, channels=["t1", "seg"])
