"""``voxarray verify``: what it says of archives, of cohorts and of other files, and how it ends."""

from __future__ import annotations

import os

import nibabel as nib
import numpy as np
from cli_samples import AFFINE, run, save


def test_verify(tmp_path, scan):
    run("convert", scan, tmp_path / "out/a.ome.zarr")
    run("convert", scan, tmp_path / "out/b.ozx")
    good = run("verify", tmp_path / "out")
    assert good.exit_code == 0
    assert good.output.count(": OK") == 2
    shard = tmp_path / "out/a.ome.zarr/scale0/image/c/0/0/0/0"
    os.truncate(shard, 50)
    bad = run("verify", tmp_path / "out")
    assert bad.exit_code == 3
    assert "BAD_CHECKSUM: scale0/image/c/0/0/0/0" in bad.stderr
    assert bad.stderr.count("scale0/image/c/0/0/0/0") == 1  # the file is named once
    assert "sizes only" not in good.output
    quick = run("verify", tmp_path / "out", "--quick")
    assert "BAD_SIZE: scale0/image/c/0/0/0/0: has 50 bytes" in quick.stderr
    assert quick.stdout.endswith("sizes only; checksums were not compared\n")
    assert run("verify", tmp_path / "out/a.ome.zarr").exit_code == 1
    assert run("verify", tmp_path / "nowhere").exit_code == 1
    assert run("verify", scan).exit_code == 1


def test_verify_source(tmp_path, scan):
    run("convert", scan, tmp_path / "a.ome.zarr")
    assert run("verify", tmp_path / "a.ome.zarr", "--source", scan).exit_code == 0
    array = np.asanyarray(nib.load(scan).dataobj).copy()
    array[7, 8, 9] += 1
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "voxel.nii.gz")
    voxel = run("verify", tmp_path / "a.ome.zarr", "--source", tmp_path / "voxel.nii.gz")
    assert voxel.exit_code == 1
    assert "VOXEL_MISMATCH" in voxel.stderr
    assert "(0, 7, 8, 9)" in voxel.stderr
    array[7, 8, 9] -= 1
    moved = AFFINE.copy()
    moved[0, 3] += 0.01
    nib.save(nib.Nifti1Image(array, moved), tmp_path / "moved.nii.gz")
    place = run("verify", tmp_path / "a.ome.zarr", "--source", tmp_path / "moved.nii.gz")
    assert "AFFINE_MISMATCH" in place.stderr
    save(tmp_path / "shape.nii.gz", shape=(5, 5, 5))
    shape = run("verify", tmp_path / "a.ome.zarr", "--source", tmp_path / "shape.nii.gz")
    assert "SHAPE_MISMATCH" in shape.stderr
    run("convert", scan, tmp_path / "b.ome.zarr")
    several = run("verify", tmp_path / "a.ome.zarr", tmp_path / "b.ome.zarr", "--source", scan)
    assert several.exit_code == 2


def test_verify_says_what_a_file_is_that_is_no_archive(scan):
    result = run("verify", scan)
    assert result.exit_code == 1
    assert "NOT_AN_ARCHIVE" in result.stderr
    assert "NIfTI" in result.stderr
    assert "damaged" not in result.stderr


def test_verify_of_many_names_the_damaged_ones_only(tmp_path, scan):
    for number in range(22):
        (tmp_path / "in").mkdir(exist_ok=True)
        os.link(scan, tmp_path / f"in/{number}.nii.gz")
    assert run("convert", tmp_path / "in", tmp_path / "out").exit_code == 0
    said = run("verify", tmp_path / "out").stdout
    assert said.count("OK") == 1
    assert "22 OK" in said
    assert run("verify", tmp_path / "out", "--verbose").stdout.count(": OK") == 22
