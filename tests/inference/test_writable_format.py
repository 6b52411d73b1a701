"""What cannot be written is refused before the network has seen the scan, not hours later."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import voxarray as vx

SHAPE = (1, 18, 17, 16)


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("out.png", {}, "UNSUPPORTED_DIMS"),
        ("out.tif", {"output": "logits"}, "UNSUPPORTED_DIMS"),
        ("out.gipl", {"output": "logits"}, "UNSUPPORTED_DIMS"),
        ("out.mnc", {"output": "logits"}, "UNSUPPORTED_DIMS"),
        ("out.nii.gz", {"output": "logits", "dtype": "float16"}, "UNSUPPORTED_DTYPE"),
        ("out.mha", {"output": "logits", "dtype": "float16"}, "UNSUPPORTED_DTYPE"),
    ],
)
def test_what_a_format_cannot_hold(tmp_path, name, options, code):
    calls = []

    def model(patches):
        calls.append(patches.shape)
        return torch.cat([-patches, patches], dim=1)

    scan = vx.ScalarImage(tensor=np.ones(SHAPE, np.float32), affine=np.diag([-1, -1, 1, 1]))
    with pytest.raises(vx.UnsupportedError) as caught:
        vx.infer(model, scan, tmp_path / name, patch_size=8, classes=2, **options)
    assert caught.value.code == code
    assert str(tmp_path / name) in str(caught.value)
    assert len(calls) == 1  # of zeros, for what the network needs
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd", ".mgz", ".h5", ".ome.zarr"])
@pytest.mark.parametrize("classes", [1, 2])
def test_probabilities_as_uint8_are_read_as_probabilities(tmp_path, suffix, classes):
    voxels = np.random.default_rng(0).random(SHAPE, np.float32)
    scan, out = vx.ScalarImage(tensor=voxels), tmp_path / f"out{suffix}"
    options = {"output": "probabilities", "activation": "sigmoid", "dtype": "uint8"}
    found = vx.infer(
        lambda p: p.expand(-1, classes, -1, -1, -1), scan, out, patch_size=8, **options
    )
    assert found.shape == (classes, *SHAPE[1:])
    expected = np.broadcast_to(1 / (1 + np.exp(-voxels)), found.shape)
    np.testing.assert_allclose(found.numpy(), expected, atol=0.5 / 255 + 1e-6)


def test_voxels_beyond_float32_are_refused(tmp_path):
    scan = vx.ScalarImage(tensor=np.full((1, 8, 8, 8), 1e300))
    with pytest.raises(vx.UnsupportedError, match=r"1e\+300") as caught:
        vx.infer(lambda patches: patches, scan, tmp_path / "a.nii", patch_size=8, classes=1)
    assert caught.value.code == "UNSUPPORTED_DTYPE"
    assert not list(tmp_path.iterdir())


def test_a_threshold_is_no_truth_value(tmp_path):
    with pytest.raises(ValueError, match="threshold"):
        vx.infer(torch.nn.Identity(), vx.testing.sample(), tmp_path / "a.nii", threshold=True)
