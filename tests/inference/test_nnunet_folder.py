"""Results of nnU-Net are told from bundles and named, with what the user has to do."""

from __future__ import annotations

import json

import pytest
import torch

import voxarray as vx

PLANS = {
    "transpose_backward": [0, 1, 2],
    "configurations": {
        "2d": {"patch_size": [256, 256], "spacing": [1, 1]},
        "3d_lowres": {
            "patch_size": [64, 128, 96],
            "spacing": [3.0, 1.5, 1.25],
            "normalization_schemes": ["CTNormalization"],
        },
        "3d_fullres": {"inherits_from": "3d_lowres", "spacing": [2.5, 0.75, 0.5]},
    },
}


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "Dataset001_Liver" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(PLANS))
    (folder / "dataset.json").write_text("{}")
    torch.save({"network_weights": {}}, folder / "fold_0" / "checkpoint_final.pth")
    return folder


def refused(model, tmp_path):
    with pytest.raises(vx.ModelError) as caught:
        vx.infer(model, vx.testing.sample((9, 9, 9)), tmp_path / "a.nii", patch_size=8)
    assert not (tmp_path / "a.nii").exists()
    return caught.value


@pytest.mark.parametrize("below", ["..", ".", "fold_0", "fold_0/checkpoint_final.pth"])
def test_every_part_of_the_results_is_named_with_what_to_do(results, tmp_path, below):
    error = refused(results / below, tmp_path)
    assert error.code == "NNUNET"
    for part in ("initialize_from_trained_model_folder", "torch.export", "CTNormalization"):
        assert part in str(error)
    assert "patch_size=(96, 128, 64) and a spacing of (0.5, 0.75, 2.5) mm" in str(error)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"configurations": {"3d_fullres": 5}}'])
def test_plans_that_cannot_be_read_are_pointed_to(results, tmp_path, text):
    (results / "plans.json").write_text(text)
    error = refused(results, tmp_path)
    assert error.code == "NNUNET"
    assert f"plans in {results}" in str(error)


@pytest.mark.parametrize("names", [[], ["plans.json"], ["fold_0/checkpoint_final.pth"]])
def test_other_folders_are_no_results_of_nnunet(tmp_path, names):
    for name in names:
        path = tmp_path / "other" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    (tmp_path / "other").mkdir(exist_ok=True)
    with pytest.raises(vx.MissingFileError, match="not a MONAI bundle"):
        vx.infer(tmp_path / "other", vx.testing.sample((9, 9, 9)), patch_size=8)
