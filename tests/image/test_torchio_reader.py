"""TorchIO's images with voxarray as their reader: whole in TorchIO 1, in parts in TorchIO 2."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchio as tio

import voxarray as vx
from voxarray.testing.counting import count_reads


@pytest.fixture
def scan(tmp_path):
    vx.testing.sample((20, 18, 16)).save(tmp_path / "t1.nii")
    return vx.ScalarImage(tmp_path / "t1.nii")


@pytest.mark.parametrize("suffix", [".nii.gz", ".ome.zarr"])
def test_torchio_reads_with_it(scan, tmp_path, suffix):
    scan.save(tmp_path / f"a{suffix}")
    theirs = tio.ScalarImage(tmp_path / f"a{suffix}", reader=vx.TorchioReader())
    assert torch.equal(theirs.data, scan.data)
    np.testing.assert_allclose(theirs.affine, scan.affine, atol=1e-5)


def test_what_torchio_is_given_is_its_own(scan, tmp_path):
    """As what its own reader gives: changed in place, and no other image changes."""
    scan.save(tmp_path / "a.nii.gz")
    reader = vx.TorchioReader()
    for _ in range(2):
        voxels, affine = reader(tmp_path / "a.nii.gz")
        assert torch.equal(voxels, scan.data)
        np.testing.assert_allclose(affine, scan.affine, atol=1e-5)
        voxels.zero_()
        affine[:3, 3] += 5
    theirs = tio.ScalarImage(tmp_path / "a.nii.gz", reader=reader)
    theirs.affine[0, 3] += 5


INDICES = {
    "all": ...,
    "a channel": 0,
    "a slice of channels": slice(0, 1),
    "a plane": (0, slice(None), 3),
    "ellipsis first": (..., slice(1, 9, 2)),
    "ellipsis within": (0, ..., -1),
    "box": (slice(None), slice(2, 8), slice(1, 5), slice(-4, None)),
}


@pytest.mark.parametrize("index", INDICES)
def test_torchio_2_reads_what_it_takes(scan, tmp_path, index):
    """Against NumPy: integers keep their axis, and no more is read."""
    scan.save(tmp_path / "a.nii")
    request = SimpleNamespace(path=tmp_path / "a.nii", affine=None)
    with count_reads() as reads:
        backend = vx.TorchioReader().create_backend(request)
        assert backend.shape == scan.shape
        np.testing.assert_allclose(backend.affine, scan.affine, atol=1e-5)
        assert reads.voxels == 0
        found = backend[INDICES[index]]
        assert reads.voxels == found.numel()
    items = INDICES[index] if isinstance(INDICES[index], tuple) else (INDICES[index],)
    kept = tuple(slice(one, one + 1 or None) if isinstance(one, int) else one for one in items)
    np.testing.assert_array_equal(found, scan.numpy()[kept])
    assert torch.equal(backend.to_tensor(), scan.data)


def test_torchio_2_may_set_the_affine(scan):
    theirs = torch.diag(torch.tensor([3.0, 3, 3, 1]).double())
    request = SimpleNamespace(path=scan.path, affine=theirs)
    assert torch.equal(vx.TorchioReader().create_backend(request).affine, theirs)


@pytest.mark.skipif(int(tio.__version__.split(".")[0]) < 2, reason="TorchIO 2 is not installed")
def test_torchio_2_takes_it_for_a_backend(scan, tmp_path):
    scan.save(tmp_path / "a.ome.zarr")
    theirs = tio.ScalarImage(tmp_path / "a.ome.zarr", reader=vx.TorchioReader())
    with count_reads() as reads:
        assert tuple(theirs.shape) == scan.shape
        assert not theirs.is_loaded
        part = theirs[:, 2:5]
        assert reads.voxels <= part.data.numel()
    assert torch.equal(part.data, scan.data[:, 2:5])
    assert torch.equal(theirs.data, scan.data)
