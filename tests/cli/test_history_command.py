"""``voxarray history``: what it says of an image that has none, or one that cannot be replayed."""

from __future__ import annotations

from cli_samples import run, save

import voxarray as vx


def test_a_file_without_history_says_so(tmp_path):
    save(tmp_path / "a.nii")
    done = run("history", tmp_path / "a.nii")
    assert done.exit_code == 1
    assert "NO_HISTORY" in done.stderr


def test_a_history_that_cannot_be_done_again_is_refused(tmp_path):
    image = vx.ScalarImage(save(tmp_path / "a.nii"))
    vx.Lambda(_negated)(image).save(tmp_path / "a.ome.zarr")
    done = run("history", tmp_path / "a.ome.zarr")
    assert done.exit_code == 1
    assert "BAD_ARGUMENT" in done.stderr
    assert "Lambda" in done.stderr


def _negated(voxels):
    return -voxels
