"""Pieces that are read into the same memory, one after the other."""

from __future__ import annotations

import numpy as np
import pytest

import voxarray as vx
from voxarray.source import pieces as module
from voxarray.source.pieces import pieces, pieces_in_turn

SHAPE = (2, 40, 36, 28)


@pytest.fixture(params=[".ome.zarr", ".nii", ".nii.gz", "memory", "dask"])
def source(request, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PIECE_BYTES", 1 << 13)
    voxels = np.random.default_rng(0).integers(0, 999, SHAPE, dtype=np.int16)
    image = vx.ScalarImage(tensor=voxels)
    if request.param == "memory":
        return image.source
    if request.param == "dask":
        return vx.Clamp(5, 900)(image).source
    image.save(tmp_path / f"a{request.param}")
    return vx.ScalarImage(tmp_path / f"a{request.param}").source


def test_they_are_those_of_pieces(source):
    expected = [(box, voxels.copy()) for box, voxels in pieces(source[:1, :, 3:, :])]
    seen = [(box, voxels.copy()) for box, voxels in pieces_in_turn(source[:1, :, 3:, :])]
    assert [box for box, _ in seen] == [box for box, _ in expected]
    for (_, one), (_, other) in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_those_of_an_archive_share_their_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PIECE_BYTES", 1 << 13)
    vx.ScalarImage(tensor=np.ones(SHAPE, np.int16)).save(tmp_path / "a.ome.zarr")
    source = vx.ScalarImage(tmp_path / "a.ome.zarr").source
    owners = {voxels.__array_interface__["data"][0] for _, voxels in pieces_in_turn(source)}
    assert len(list(pieces(source))) > 2
    assert len(owners) == 1
