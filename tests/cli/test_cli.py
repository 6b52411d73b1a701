"""The command line: what each option does, and how commands end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result

from voxarray.archive.source import open_archive
from voxarray.archive.verify import verify
from voxarray.cli import main
from voxarray.geometry.selection import Selection

AFFINE = np.array([[0, -1.0, 0, 9], [0, 0, 2.0, -4], [1.5, 0, 0, 3], [0, 0, 0, 1]])


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def save(path: Path, seed: int = 0, shape: tuple[int, ...] = (20, 18, 16)) -> Path:
    """A NIfTI file of small labels-like numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 4, shape).astype(np.int16)
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    return path


def made(folder: Path) -> list[Path]:
    """Archives of a cohort, in the order of their names."""
    return sorted((folder / "subjects").iterdir())


def voxels(path: Path) -> np.ndarray:
    opened = open_archive(path)
    return opened.read(Selection.whole(opened.shape))[0]


@pytest.fixture
def scan(tmp_path) -> Path:
    return save(tmp_path / "scan.nii.gz")


@pytest.fixture
def truth(scan) -> np.ndarray:
    return np.asanyarray(nib.load(scan).dataobj)


# --- convert --------------------------------------------------------------------------------------


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
    from voxarray.cohort.plan import opening as module

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


# --- verify ---------------------------------------------------------------------------------------


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


# --- info -----------------------------------------------------------------------------------------


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


def test_the_program_runs_by_its_name(scan):
    program = Path(sys.executable).with_name("voxarray")
    if not program.exists():
        pytest.skip("voxarray is not installed beside this interpreter")
    done = subprocess.run([program, "info", scan], capture_output=True, text=True, check=True)
    assert "(1, 20, 18, 16)" in done.stdout
    listed = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    commands = ("catalogue", "clean", "convert", "demo", "finalise", "info", "plan", "verify")
    assert all(name in listed.stdout for name in commands)
