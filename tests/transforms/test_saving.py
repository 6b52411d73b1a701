"""Results that are written: bounded memory, one decoding of compressed files, whole subjects."""

from __future__ import annotations

import os
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from spatial_samples import both, oblique

import voxarray as vx
from voxarray import saving
from voxarray.archive.projection import projected_peak
from voxarray.statistics import decoded_copies
from voxarray.testing.counting import count_reads
from voxarray.testing.peak_memory import can_measure, peak_above_imports

MIB = 1 << 20
SLACK = 8 * MIB
PIPELINE = vx.Compose([vx.ToCanonical(), vx.Resample(1.2), vx.CropOrPad(50), vx.Pad(2, "edge")])


@pytest.fixture
def scan(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 99, (1, 40, 50, 60)).astype("int16")
    image = vx.ScalarImage(tensor=voxels, affine=oblique(1))
    image.save(tmp_path / "scan.nii")
    image.save(tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".ome.zarr", ".nrrd", ".mha"])
def test_results_are_written(scan, tmp_path, suffix):
    expected = PIPELINE(vx.ScalarImage(scan))
    PIPELINE(vx.ScalarImage(scan)).save(tmp_path / f"result{suffix}")
    saved = vx.ScalarImage(tmp_path / f"result{suffix}")
    assert np.array_equal(saved.numpy(), expected.numpy())
    assert np.allclose(saved.affine, expected.affine, atol=1e-4)
    assert saved.dtype == np.dtype("int16")


@pytest.mark.parametrize("large", [False, True], ids=["cached", "staged"])
@pytest.mark.parametrize("suffix", [".nii", ".ome.zarr"])
def test_a_stream_is_decoded_once(scan, tmp_path, suffix, large, monkeypatch):
    if large:
        monkeypatch.setattr(decoded_copies, "IN_MEMORY_BYTES", 1000)
    expected = PIPELINE(vx.ScalarImage(scan.with_suffix(""))).numpy()
    image = PIPELINE(vx.ScalarImage(scan))
    with dask.config.set({"voxarray.gzip-whole-limit": 1000 if large else "512 MiB"}):
        with count_reads() as reads:
            image.save(tmp_path / f"result{suffix}")
        assert reads.passes == 1
    assert np.array_equal(vx.ScalarImage(tmp_path / f"result{suffix}").numpy(), expected)
    assert not decoded_copies.DECODED._copies


def test_statistics_and_saving_share_a_copy(scan, tmp_path, monkeypatch):
    monkeypatch.setattr(decoded_copies, "IN_MEMORY_BYTES", 1000)
    with (
        dask.config.set({"voxarray.gzip-whole-limit": 1000}),
        count_reads() as reads,
    ):
        image = vx.ScalarImage(scan).resample(1.3).pad(3, "maximum")
        image.save(tmp_path / "result.nii")
    assert reads.passes == 1
    assert not decoded_copies.DECODED._copies
    saved = vx.ScalarImage(tmp_path / "result.nii").numpy()
    assert (saved[:, :3] == saved[:, 3:-3, 3:-3, 3:-3].max()).all()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mgz", ".h5", ".ome.zarr"])
def test_what_needs_too_much_memory_is_refused_first(scan, tmp_path, suffix, monkeypatch):
    """Before the stream is decoded for it, and before anything is written."""
    monkeypatch.setattr(decoded_copies, "IN_MEMORY_BYTES", 1000)
    settings = {"voxarray.gzip-whole-limit": 1000, "voxarray.memory-budget": 500_000}
    with (
        dask.config.set(settings),
        count_reads() as reads,
        pytest.raises(vx.MemoryBudgetError, match=rf"saving result{suffix} needs") as error,
    ):
        PIPELINE(vx.ScalarImage(scan)).save(tmp_path / f"result{suffix}")
    assert error.value.path == str(tmp_path / f"result{suffix}")
    assert (reads.passes, reads.voxels) == (0, 0)
    assert sorted(os.listdir(tmp_path)) == ["scan.nii", "scan.nii.gz"]
    assert not decoded_copies.DECODED._copies


def test_blocks_of_graphs_that_are_too_large_are_refused(tmp_path):
    voxels = da.zeros((1, 512, 512, 512), dtype="int16", chunks=(1, 512, 512, 512))
    image = vx.ScalarImage(tensor=voxels)
    with dask.config.set({"voxarray.memory-budget": "300 MiB", "voxarray.threads": 2}):
        with pytest.raises(vx.MemoryBudgetError, match="rechunk"):
            image.save(tmp_path / "a.nii")
        assert not os.listdir(tmp_path)
        image.rechunk((1, 512, 512, 32)).save(tmp_path / "a.nii")


def test_the_projection_before_staging_equals_that_of_the_staged_copy(scan, monkeypatch):
    plain, stream = (PIPELINE(vx.ScalarImage(path)) for path in (scan.with_suffix(""), scan))
    before = projected_peak(stream.source)
    monkeypatch.setattr(decoded_copies, "IN_MEMORY_BYTES", 1000)
    with dask.config.set({"voxarray.gzip-whole-limit": 1000}):
        stream = PIPELINE(vx.ScalarImage(scan))
        promised = decoded_copies.when_staged(stream.source)
        with decoded_copies.staged(stream.source, is_last=True) as copied:
            assert projected_peak(promised) == projected_peak(copied)
    assert projected_peak(promised) == projected_peak(plain.source) <= before
    assert decoded_copies.when_staged(plain.source).token() == plain.source.token()


def test_a_damaged_stream_is_refused(scan, tmp_path, monkeypatch):
    monkeypatch.setattr(decoded_copies, "IN_MEMORY_BYTES", 1000)
    data = bytearray(scan.read_bytes())
    data[len(data) // 2] ^= 1
    scan.write_bytes(bytes(data))
    with (
        dask.config.set({"voxarray.gzip-whole-limit": 1000}),
        pytest.raises(vx.FormatError),
    ):
        vx.ScalarImage(scan).resample(1.3).save(tmp_path / "result.nii")
    assert sorted(os.listdir(tmp_path)) == ["scan.nii", "scan.nii.gz"]
    assert not decoded_copies.DECODED._copies


def test_subjects(scan, tmp_path):
    subject = both(0)[1]
    result = PIPELINE(subject)
    result.save(tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == ["seg.ome.zarr", "t1.ome.zarr"]
    labels = vx.LabelMap(tmp_path / "out" / "seg.ome.zarr")
    assert np.array_equal(labels.numpy(), result["seg"].numpy())
    with pytest.raises(vx.ArchiveExistsError, match="overwrite=True"):
        subject.save(tmp_path / "out")
    subject.save(tmp_path / "out", overwrite=True)
    subject.save(tmp_path / "out", ".nii.gz")
    assert len(os.listdir(tmp_path / "out")) == 4
    with pytest.raises(ValueError, match="cannot name a file"):
        vx.Subject({"a/b": subject["t1"]}).save(tmp_path / "out")


# --- Memory ---------------------------------------------------------------------------------------

SETUP = """
import voxarray as vx, numpy as np, dask.config
import voxarray.archive.convert, voxarray.formats.nifti.read, voxarray.statistics.decoded_copies
import voxarray.formats.nifti.write, voxarray.ops.points, scipy.ndimage
from voxarray.transforms import *
def pipeline(path):
    return vx.Compose([{steps}])(vx.ScalarImage(path))
"""
# Both hold as many blocks at once as any deeper one: what is less deep holds fewer.
DEPTHS = 256, 512
STEPS = {
    "even": "vx.ToCanonical(), vx.Resample(1.4), vx.CropOrPad((160, 170, 180))",
    "oblique": "vx.Resample(((150, 160, 170), np.eye(4)))",
    "splines": "vx.Resample(1.3, image_interpolation='bspline')",
}


@pytest.fixture(scope="module")
def volumes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    for depth in DEPTHS:
        image = vx.ScalarImage(tensor=np.zeros((1, 256, 256, depth), "int16"))
        image.save(folder / f"{depth}.nii")
    return folder


@pytest.mark.skipif(not can_measure(), reason="this system does not tell peaks")
@pytest.mark.parametrize(
    ("steps", "suffix"),
    [
        # Each kind of steps and each format once; all pairs in the soak.
        pytest.param(
            steps,
            suffix,
            id=f"{name}-{suffix}",
            marks=() if (row - column) % 3 == 0 else pytest.mark.slow,
        )
        for row, (name, steps) in enumerate(STEPS.items())
        for column, suffix in enumerate([".ome.zarr", ".nii", ".nii.gz"])
    ],
)
def test_peak_is_as_projected_and_flat(volumes, steps, suffix):
    peaks = {}
    for depth in DEPTHS:
        path = volumes / f"{depth}.nii"
        target = f"{path}-out{suffix}"
        statement = f"pipeline({str(path)!r}).save({target!r}, overwrite=True)"
        peaks[depth] = peak_above_imports(SETUP.format(steps=steps), statement).bytes
        image = eval(f"vx.Compose([{steps}])", {"vx": vx, "np": np})(vx.ScalarImage(path))
        assert peaks[depth] <= saving.projected_peak(image.source, f"image{suffix}") + SLACK
    assert peaks[512] <= 1.15 * peaks[256] + SLACK
