"""The one line that an image shows."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import torch

import voxarray as vx
from scans import voxels


def test_not_loaded_and_loaded(save_nifti):
    path = save_nifti("t1.nii.gz", voxels((1, 3, 4, 5), "float32"), np.diag([1, 2, 3.5, 1]))
    image = vx.ScalarImage(path)
    geometry = "shape: (1, 3, 4, 5); spacing: (1.00, 2.00, 3.50); orientation: RAS+"
    assert repr(image) == str(image) == f'ScalarImage({geometry}; path: "{path}")'
    image.load()
    assert repr(image) == f"ScalarImage({geometry}; memory: 240 B; dtype: torch.FloatTensor)"


def test_the_example_of_the_page():
    affine = np.diag([-1, -1, 1, 1])
    image = vx.LabelMap(tensor=torch.zeros(1, 20, 30, 40, dtype=torch.int32), affine=affine)
    assert repr(image) == (
        "LabelMap(shape: (1, 20, 30, 40); spacing: (1.00, 1.00, 1.00); orientation: LPS+; "
        "memory: 93.8 KiB; dtype: torch.IntTensor)"
    )


def test_several_paths(save_nifti):
    paths = [save_nifti(name, voxels((1, 3, 4, 5))) for name in ("a.nii", "b.nii")]
    assert repr(vx.ScalarImage(paths)).endswith(f'paths: ["{paths[0]}", "{paths[1]}"])')


def test_lazy_arrays():
    image = vx.ScalarImage(tensor=da.zeros((1, 2, 3, 4), dtype="uint16"))
    assert repr(image).endswith("memory: 96 B; dtype: torch.IntTensor)")


def test_what_cannot_be_opened(tmp_path):
    path = tmp_path / "broken.nii"
    path.write_bytes(b"nothing")
    text = repr(vx.ScalarImage(path))
    assert text.startswith(f'ScalarImage(path: "{path}"; not readable: ')


@pytest.mark.parametrize("name", ["t1.nii", "t1.nii.gz", "t1.ome.zarr"])
def test_what_was_changed_is_not_said_to_be_in_the_file(tmp_path, name):
    path = tmp_path / name
    image = vx.Resample(2)(vx.testing.sample((9, 8, 7)))
    image.save(path)
    opened = vx.ScalarImage(path)
    assert repr(opened).endswith(f'; path: "{path}")')
    changes = (vx.Resample(3), vx.ZNormalization(), vx.ToOrientation("LPI"), lambda one: one[2:5])
    for change in changes:
        made = change(opened)
        assert repr(made).endswith(f'; made from path: "{path}")')
        assert repr(vx.Flip(0)(made)).endswith(f'; made from path: "{path}")')
    assert repr(opened).endswith(f'; path: "{path}")')
