"""``voxarray info``: what it prints of images and archives, and of this process's limits."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cli_samples import AFFINE, run

import voxarray as vx


@pytest.fixture
def archive(tmp_path) -> Path:
    voxels = (np.arange(12 * 10 * 8) % 200).astype("uint8").reshape(1, 12, 10, 8)
    vx.ScalarImage(tensor=voxels).save(tmp_path / "a.nii.gz")
    vx.convert(tmp_path / "a.nii.gz", tmp_path / "a.ome.zarr")
    return tmp_path / "a.ome.zarr"


def test_info(tmp_path, scan):
    run("convert", scan, tmp_path / "a.ozx", "--levels", 2)
    for path in (scan, tmp_path / "a.ozx"):
        result = run("info", path)
        assert result.exit_code == 0
        for fact in (str(path), "(1, 20, 18, 16)", "1.5 x 1 x 2 mm", "SLA+", "int16"):
            assert fact in result.output
    assert "levels       2" in run("info", tmp_path / "a.ozx").output
    assert run("info", tmp_path / "absent.nii").exit_code == 1
    assert run("info", scan, tmp_path / "absent.nii").exit_code == 3


def test_info_tells_limits_and_where_they_come_from(scan):
    result = run("info", "--limits")
    assert result.exit_code == 0
    for part in ("the machine's memory", "sched_getaffinity", "budget", "block cache", "threads"):
        assert part in result.output
    assert "orientation" not in result.output
    assert "orientation" in run("info", "--limits", scan).output
    assert run("info").exit_code == 2


def test_info_of_a_series_with_a_scaling(tmp_path):
    image = nib.Nifti1Image(np.zeros((4, 5, 6, 7), np.int16), AFFINE)
    image.header.set_zooms((1, 1, 1, 2.5))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[112:120] = np.array([0.5, 3], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(data)
    output = run("info", tmp_path / "a.nii").output
    assert "C is time in steps of 2.5 s" in output
    assert "float32, stored as int16 x 0.5 +3" in output


def test_info_says_what_an_archive_is_made_of(archive):
    said = run("info", archive).stdout
    for word in ("chunk", "codec", "history", "convert"):
        assert word in said


def test_info_names_the_label_maps_of_an_archive(archive):
    assert "label maps" not in run("info", archive).stdout
    marks = vx.LabelMap(tensor=np.ones((1, 12, 10, 8), np.uint8))
    for name in ("second", "first"):
        vx.Archive(archive).add_labels(name, marks, names={1: "tumour"})
    said = run("info", archive).stdout.splitlines()
    assert [line.split(maxsplit=2)[2] for line in said if "label maps" in line] == ["first, second"]
    facts = json.loads(run("info", archive, "--json").stdout)["images"][0]
    assert (facts["label_maps"], facts["labels"]) == (["first", "second"], {})
    inside = f"{archive}/labels/first"
    assert "1 tumour" in run("info", inside).stdout
    assert json.loads(run("info", inside, "--json").stdout)["images"][0]["label_maps"] == []
