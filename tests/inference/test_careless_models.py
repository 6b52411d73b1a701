"""Models that are careless with what they are given, or return what sums cannot hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import voxarray as vx


@pytest.fixture
def scan() -> vx.ScalarImage:
    return vx.testing.sample((20, 18, 16))


def bright(patch):
    return torch.cat([300 - patch, patch - 300], 1)


def test_models_that_change_their_input_do_so_for_themselves(scan, tmp_path):
    def careless(patch):
        found = bright(patch.clone())
        patch.zero_()
        return found

    kept = {"patch_size": 16, "progress": False}
    expected = vx.infer(bright, scan, tmp_path / "a.nii", **kept).numpy()
    for number, (model, flips) in enumerate([([careless, bright], ()), (careless, "all")]):
        found = vx.infer(model, scan, tmp_path / f"{number}.nii", flips=flips, **kept)
        np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize(
    ("code", "offset", "options"),
    [
        ("INFINITE_PREDICTION", -np.inf, {"preprocess": vx.Resample(3)}),
        ("INFINITE_PREDICTION", np.inf, {"output": "probabilities"}),
        ("LARGE_PREDICTION", 1e5, {"accumulate": "float16"}),
    ],
)
def test_numbers_that_sums_cannot_hold_are_refused(scan, tmp_path, code, offset, options):
    with pytest.raises(vx.ModelError) as caught:
        vx.infer(lambda p: bright(p) + offset, scan, tmp_path / "a.nii", patch_size=16, **options)
    assert caught.value.code == code
    assert not (tmp_path / "a.nii").exists()


@pytest.mark.parametrize("name", ["a.nii.gz", "a.ome.zarr", "a.ome.zarr/labels.ome.zarr"])
def test_a_scan_is_not_replaced_by_its_labels(scan, tmp_path, name):
    source = tmp_path / name.split("/")[0]
    scan.save(source)
    with pytest.raises(vx.StateError) as caught:
        vx.infer(bright, source, tmp_path / name, patch_size=16, overwrite=True)
    assert caught.value.code == "OWN_SOURCE"
    np.testing.assert_array_equal(vx.ScalarImage(source).numpy(), scan.numpy())
