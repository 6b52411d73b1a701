"""``voxarray convert``: what each option does, and how it ends."""

from __future__ import annotations

import json
import os

import nibabel as nib
import numpy as np
import pytest
from cli_samples import AFFINE, made, run, save, voxels

from voxarray.archive.source import open_archive
from voxarray.archive.verify import verify
from voxarray.geometry.selection import Selection


def test_convert_into_a_folder_and_to_a_name(tmp_path, scan, truth):
    result = run("convert", scan, tmp_path / "out")
    assert result.exit_code == 0
    assert "1 converted" in result.output
    assert np.array_equal(voxels(made(tmp_path / "out")[0]), truth)
    for name in ("b.ome.zarr", "b.nii.zarr", "b.zarr", "b.ozx"):
        assert run("convert", scan, tmp_path / name).exit_code == 0
        assert np.array_equal(voxels(tmp_path / name), truth)
        assert np.array_equal(open_archive(tmp_path / name).affine, AFFINE)


def test_convert_brings_back_every_file_of_a_folder(tmp_path):
    scans = [
        save(tmp_path / "in/sub-01/anat/t1.nii.gz", 1),
        save(tmp_path / "in/sub-02/anat/t1.nii", 2),
    ]
    (tmp_path / "in/participants.tsv").write_text("who\n")
    assert run("convert", tmp_path / "in", tmp_path / "out").exit_code == 0
    archives = made(tmp_path / "out")
    assert [path.name[:13] for path in archives] == ["sub-01-anat-t", "sub-02-anat-t"]
    for archive, scan in zip(archives, scans, strict=True):
        assert verify(archive) == []
        assert np.array_equal(voxels(archive), np.asanyarray(nib.load(scan).dataobj))
        assert np.array_equal(open_archive(archive).affine, AFFINE)


@pytest.mark.parametrize("destination", [".", "out"])
def test_convert_again_beside_the_scans_takes_only_the_scans(tmp_path, destination):
    save(tmp_path / "a.nii.gz", 1)
    save(tmp_path / "b.nii.gz", 2)
    for _ in range(2):
        result = run("convert", tmp_path, tmp_path / destination, "--overwrite")
        assert result.exit_code == 0
        assert "2 converted" in result.output
    assert [path.name[:2] for path in made(tmp_path / destination)] == ["a-", "b-"]


def test_exit_codes(tmp_path, scan):
    (tmp_path / "bad.nii.gz").write_bytes(b"\x1f\x8bnonsense")
    some = run("convert", scan, tmp_path / "bad.nii.gz", tmp_path / "out")
    assert some.exit_code == 3
    assert "1 of 2 failed" in some.stderr
    assert "bad.nii.gz" in some.stderr
    assert [verify(path) for path in made(tmp_path / "out")] == [[]]
    assert run("convert", tmp_path / "bad.nii.gz", tmp_path / "bad").exit_code == 1
    assert run("convert", tmp_path / "absent.nii.gz", tmp_path / "absent").exit_code == 1
    assert not (tmp_path / "absent").exists()
    (tmp_path / "empty").mkdir()
    nothing = run("convert", tmp_path / "empty", tmp_path / "none")
    assert nothing.exit_code == 1
    assert "nothing to do" in nothing.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_does_not_stop_the_rest(tmp_path, scan):
    secret = save(tmp_path / "secret.nii.gz", 1)
    secret.chmod(0)
    assert run("convert", secret, scan, tmp_path / "out").exit_code == 3


def test_a_system_error_does_not_stop_the_rest(tmp_path, scan, monkeypatch):
    from voxarray.cohort.plan import opened_inputs as module

    def opening(path: str):
        if "secret" in path:
            raise PermissionError(13, "Permission denied", path)
        return original(path)

    original = module.open_source
    monkeypatch.setattr(module, "open_source", opening)
    result = run("convert", save(tmp_path / "secret.nii.gz"), scan, tmp_path / "out")
    assert result.exit_code == 3
    assert "ACCESS_DENIED: secret.nii.gz may not be read" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["scan.nii.gz", "out", "--levels", "0"],
        ["scan.nii.gz", "out", "--codec", "best"],
        ["scan.nii.gz", "out", "--memory", "lots"],
        ["scan.nii.gz", "out", "--chunk", "1"],
        ["scan.nii.gz", "b.nii.gz", "out.zarr"],
        ["scan.nii.gz", "out.ome.zarr", "--zip"],
        ["scan.nii.gz", "out", "--partition", "3/2"],
        ["scan.nii.gz"],
    ],
)
def test_calls_that_make_no_sense(tmp_path, monkeypatch, scan, arguments):
    save(tmp_path / "scan.nii")
    save(tmp_path / "b.nii.gz")
    monkeypatch.chdir(tmp_path)
    result = run("convert", *arguments)
    assert result.exit_code == 2
    assert "Error" in result.stderr
    assert not (tmp_path / "out").exists()


def test_levels(tmp_path, scan):
    for levels in (1, 3):
        path = tmp_path / f"{levels}.ome.zarr"
        assert run("convert", scan, path, "--levels", levels).exit_code == 0
        assert open_archive(path).levels == levels


def test_chunk(tmp_path, scan):
    for chunk in (4, 8):
        path = tmp_path / f"{chunk}.ome.zarr"
        assert run("convert", scan, path, "--chunk", chunk).exit_code == 0
        assert open_archive(path).array.layout.chunk == (1, chunk, chunk, chunk)
    odd = run("convert", scan, tmp_path / "odd.ome.zarr", "--chunk", 5)
    assert odd.exit_code == 1
    assert "BAD_CHUNK" in odd.stderr


def test_codec(tmp_path, scan, truth):
    codecs = {}
    for name in ("default", "compact", "fast", "labels", "training", "raw"):
        path = tmp_path / f"{name}.ome.zarr"
        assert run("convert", scan, path, "--codec", name, "--chunk", 8).exit_code == 0
        assert np.array_equal(voxels(path), truth)
        codecs[name] = open_archive(path).array.codec
    assert len(set(codecs.values())) == 6


def test_label_votes(tmp_path, scan, truth):
    path = tmp_path / "label.ome.zarr"
    assert run("convert", scan, path, "--label", "--levels", 2).exit_code == 0
    assert open_archive(path).image.kind == "label"
    document = json.loads((path / "zarr.json").read_bytes())
    assert "image-label" in document["attributes"]["ome"]
    assert run("convert", scan, tmp_path / "mean.ome.zarr", "--levels", 2).exit_code == 0

    def coarse(name: str) -> np.ndarray:
        level = open_archive(tmp_path / name).level(1)
        return level.read(Selection.whole(level.shape))

    assert not np.array_equal(coarse("label.ome.zarr"), coarse("mean.ome.zarr"))


def test_memory(tmp_path, scan):
    small = run("convert", scan, tmp_path / "out", "--memory", "1 KiB")
    assert small.exit_code == 1
    assert "OVER_BUDGET" in small.stderr
    assert made(tmp_path / "out") == []
    assert run("convert", scan, tmp_path / "out", "--memory", "512 MiB").exit_code == 0


def test_zip(tmp_path, scan, truth):
    assert run("convert", scan, tmp_path / "out", "--zip").exit_code == 0
    (archive,) = made(tmp_path / "out")
    assert archive.suffix == ".ozx"
    assert archive.is_file()
    assert np.array_equal(voxels(archive), truth)


def test_overwrite(tmp_path, scan):
    path = tmp_path / "a.ome.zarr"
    assert run("convert", scan, path).exit_code == 0
    refused = run("convert", save(tmp_path / "new.nii.gz", 5), path)
    assert refused.exit_code == 1
    assert "--overwrite" in refused.stderr
    assert np.array_equal(voxels(path), np.asanyarray(nib.load(scan).dataobj))
    assert run("convert", tmp_path / "new.nii.gz", path, "--overwrite").exit_code == 0
    assert np.array_equal(voxels(path), np.asanyarray(nib.load(tmp_path / "new.nii.gz").dataobj))


def test_an_archive_converts_to_another(tmp_path, scan, truth):
    assert run("convert", scan, tmp_path / "a.ome.zarr").exit_code == 0
    assert run("convert", tmp_path / "a.ome.zarr", tmp_path / "b.ozx", "--chunk", 8).exit_code == 0
    assert np.array_equal(voxels(tmp_path / "b.ozx"), truth)
