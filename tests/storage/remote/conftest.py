from __future__ import annotations

import os

import dask.config
import nibabel as nib
import numpy as np
import pytest

from remote_samples import AFFINE
from voxarray.archive.convert import convert
from voxarray.archive.options import LabelLayer, Options
from voxarray.source.array import ArraySource
from voxarray.storage.local_copies import COPIES
from voxarray.storage.remote import objects, retries
from web_server import WebServer


@pytest.fixture(autouse=True)
def _impatient(monkeypatch, tmp_path):
    monkeypatch.setattr(retries, "pause", lambda _: None)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    COPIES.clear()
    with dask.config.set({"voxarray.download-directory": str(tmp_path / "copies")}):
        COPIES._folder = None
        yield
    COPIES.clear()
    objects.forget()


@pytest.fixture(scope="session")
def voxels():
    return np.random.default_rng(0).integers(0, 900, (30, 26, 22)).astype("i2")


@pytest.fixture(scope="session")
def scans(tmp_path_factory, voxels):
    """One image in the forms that are read by ranges, or through a copy."""
    root = tmp_path_factory.mktemp("scans")
    image = nib.Nifti1Image(voxels, AFFINE)
    for name in ("a.nii", "a.nii.gz"):
        nib.save(image, root / name)
    nib.save(nib.MGHImage(voxels, AFFINE.astype("f4")), root / "a.mgz")
    layer = LabelLayer(ArraySource((voxels[None] % 3).astype("u1"), AFFINE))
    for name in ("a.ome.zarr", "a.ozx"):
        source = ArraySource(voxels[None], AFFINE)
        convert(source, root / name, labels={"brain": layer}, options=Options(levels=2, chunk=8))
    return root


@pytest.fixture
def web(scans):
    with WebServer(scans) as server:
        yield server
