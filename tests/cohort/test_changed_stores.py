"""Zarr stores of others as sources: a chunk that changes is a change of the scan."""

from __future__ import annotations

import os
import shutil

import pytest
import zarr

import voxarray as vx
from voxarray.cohort.plan.fingerprint import InputFingerprint


@pytest.fixture(params=[2, 3])
def store(request, tmp_path):
    """A store of two chunks, and the array in it."""
    names = {"dimension_names": ["z", "y", "x"]} if request.param == 3 else {}
    group = zarr.open_group(str(tmp_path / "in/a.zarr"), mode="w", zarr_format=request.param)
    axes = [{"name": n, "type": "space", "unit": "millimeter"} for n in "zyx"]
    scale = {"type": "scale", "scale": [2, 1, 1]}
    levels = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}
    if request.param == 3:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [levels]}
    else:
        group.attrs["multiscales"] = [{"version": "0.4", **levels}]
    array = group.create_array("0", shape=(4, 4, 8), chunks=(4, 4, 4), dtype="i2", **names)
    array[:] = 1
    return tmp_path / "in", array


def converted(folder):
    made = vx.convert_cohort(folder, folder.parent / "out")
    (subject,) = vx.Cohort(folder.parent / "out")
    return made.converted, subject.image.data.numpy()


def test_a_chunk_that_changes_is_converted_again(store):
    folder, array = store
    assert converted(folder)[0] == 1
    assert converted(folder)[0] == 0
    array[:, :, 4:] = 2
    made, voxels = converted(folder)
    assert made == 1
    assert (voxels[0, 4:] == 2).all()
    assert (voxels[0, :4] == 1).all()


def test_a_chunk_that_vanishes_is_noticed(store):
    folder, _ = store
    converted(folder)
    (chunk,) = (
        os.path.join(above, name)
        for above, _, names in os.walk(folder)
        for name in names
        if os.path.relpath(os.path.join(above, name), folder / "a.zarr/0")
        in ("0.0.1", "0/0/1", "c/0/0/1")
    )
    os.remove(chunk)
    made, voxels = converted(folder)
    assert made == 1
    assert (voxels[0, 4:] == 0).all()


def test_a_copied_cohort_of_archives_is_told_by_manifests(tmp_path):
    """Of these, no file but the manifest needs to be asked."""
    vx.testing.sample((8, 8, 8)).save(tmp_path / "in/a.ome.zarr")
    assert converted(tmp_path / "in")[0] == 1
    shutil.copytree(tmp_path / "in/a.ome.zarr/scale0", tmp_path / "in/a.ome.zarr/more")
    assert converted(tmp_path / "in")[0] == 0


def test_no_store_is_looked_for_below_a_file(tmp_path, monkeypatch):
    path = tmp_path / "a.nii"
    vx.testing.sample((4, 4, 4)).save(path)
    InputFingerprint.of(str(path))  # what is imported now is not counted
    asked, stat = [], os.stat
    monkeypatch.setattr(os, "stat", lambda path, **more: asked.append(path) or stat(path, **more))
    InputFingerprint.of(str(path))
    assert {os.fspath(one) for one in asked} == {str(path)}
    assert len(asked) <= 2  # of each of 100,000 images
