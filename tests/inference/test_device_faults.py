"""Devices that are full or lost in the middle of a run; no card is needed to see what is left."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import voxarray as vx
from voxarray.cli.main import main

GOOD = "a device that works"


def bright(patch):
    return torch.cat([0.5 - patch, patch - 0.5], 1)


class Fails:
    """Fails at the n-th patch that is not empty."""

    def __init__(self, error, at=5):
        self.error, self.left = error, at

    def __reduce__(self):  # for the plan of a cohort
        return type(self), (self.error,)

    def __call__(self, patch):
        self.left -= bool(patch.any())
        if self.left <= 0 and self.error != GOOD:
            raise self.error
        return bright(patch)


FAULTS = [
    ("DEVICE_FULL", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")),
    ("DEVICE_FULL", RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")),
    ("DEVICE_FULL", RuntimeError("[ONNXRuntimeError] : Failed to allocate memory for requested")),
    ("DEVICE_FULL", RuntimeError("CUDA error: out of memory")),
    ("DEVICE_FULL", RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublas")),
    ("DEVICE_LOST", RuntimeError("CUDA error: an illegal memory access was encountered")),
    ("DEVICE_LOST", RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")),
    ("MODEL_FAILED", RuntimeError("shapes do not fit")),
]

LOST = next(error for code, error in FAULTS if code == "DEVICE_LOST")


def cohort_of(folder):
    (folder / "scans").mkdir()
    for number in range(2):
        voxels = np.random.default_rng(number).random((1, 20, 18, 9), np.float32)
        vx.ScalarImage(tensor=voxels).save(folder / "scans" / f"sub-{number}.nii.gz")
    vx.convert_cohort(folder / "scans", folder / "cohort", progress=False)
    return vx.Cohort(folder / "cohort")


@pytest.mark.parametrize(("code", "error"), FAULTS, ids=[f"{n}" for n in range(len(FAULTS))])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.ome.zarr"])
def test_a_device_that_fails_half_way_leaves_nothing(tmp_path, code, error, name):
    scan = vx.testing.sample((20, 18, 9))
    with pytest.raises(vx.ModelError, match=r"patch 5 of \d+ at \(") as caught:
        vx.infer(Fails(error), scan, tmp_path / name, patch_size=8)
    assert caught.value.code == code
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("destination", [None, "labels"], ids=["layers", "cohort"])
def test_a_device_that_fails_in_a_cohort_ends_that_subject_alone(tmp_path, destination):
    cohort = cohort_of(tmp_path)
    where = None if destination is None else tmp_path / destination
    given = {"patch_size": 8, "progress": False}
    with pytest.raises(vx.VoxarrayError, match="DEVICE_LOST"):
        vx.infer(Fails(LOST, 40), cohort, where, **given)
    assert all(not vx.verify(one.get_first_image().path) for one in cohort)
    if destination is None:
        made = [list(names) for names in vx.Cohort(cohort.path).table["labels"]]
        assert made == [["prediction"], []]
    else:
        assert len(vx.Cohort(where)) == 1


NO_MEMORY = [
    MemoryError(),
    MemoryError("Unable to allocate 2.00 GiB for an array"),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=["bare", "of NumPy"])
@pytest.mark.parametrize("at", [1, 5])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.ome.zarr", "layer"])
def test_a_model_without_memory_is_named_with_its_patch(tmp_path, error, at, name):
    """It passed bare, and said of no scan and no patch that they were predicted."""
    scan = vx.testing.sample((20, 18, 9))
    scan.save(tmp_path / "scan.ome.zarr")
    before = set(tmp_path.rglob("*"))
    to = None if name == "layer" else tmp_path / name
    with pytest.raises(vx.MemoryBudgetError, match=rf"patch {at} of \d+ at \(") as caught:
        vx.infer(Fails(error, at), tmp_path / "scan.ome.zarr", to, patch_size=8, classes=2)
    assert isinstance(caught.value, MemoryError)
    assert caught.value.__cause__ is error
    assert caught.value.code == "OUT_OF_MEMORY"
    assert "smaller batch_size or patch_size" in caught.value.message
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("destination", [None, "labels"], ids=["layers", "cohort"])
def test_a_model_without_memory_ends_its_subject_alone(tmp_path, destination):
    cohort = cohort_of(tmp_path)
    where = None if destination is None else tmp_path / destination
    given = {"patch_size": 8, "progress": False}
    told = r"(?s)sub-1.*OUT_OF_MEMORY.*patch \d+ at \(|OUT_OF_MEMORY"
    with pytest.raises(vx.VoxarrayError, match=told) as caught:
        vx.infer(Fails(MemoryError(), 40), cohort, where, **given)
    assert caught.value.code == "SOME_FAILED"
    if destination is None:
        made = [list(names) for names in vx.Cohort(cohort.path).table["labels"]]
        assert made == [["prediction"], []]
    else:
        made = vx.Cohort(where).table
        assert sorted(made["status"]) == ["done", "failed"]
        assert made[made["status"] == "failed"]["code"].tolist() == ["OUT_OF_MEMORY"]
        report = (where / "report.txt").read_text()
        assert "for patch" in report


def test_sums_of_an_ensemble_without_memory_are_named(tmp_path, monkeypatch):
    """Not what a model raises, but what is done with its predictions."""

    def full(*_):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(torch.Tensor, "clone", full)
    with pytest.raises(vx.ModelError, match=r"no memory left for a patch of zeros"):
        vx.infer(
            [bright, bright],
            vx.testing.sample((9, 9, 9)),
            tmp_path / "a.nii",
            patch_size=8,
            classes=2,
        )


@pytest.mark.parametrize("destination", [(), ("labels",)], ids=["layers", "cohort"])
def test_the_command_line_counts_a_model_without_memory_as_failed(
    tmp_path, monkeypatch, destination
):
    cohort_of(tmp_path)
    torch.jit.script(torch.nn.Conv3d(1, 2, 1)).save(str(tmp_path / "net.pt"))
    model = Fails(MemoryError(), 40)
    monkeypatch.setattr("voxarray.inference.loading.network_of", lambda _: model)
    words = ["infer", str(tmp_path / "net.pt"), str(tmp_path / "cohort")]
    words += [str(tmp_path / name) for name in destination]
    done = CliRunner().invoke(main, [*words, "--patch-size", "8", "--json"])
    assert done.exit_code == 3, done.output
    assert "OUT_OF_MEMORY" in done.output
    assert "UNEXPECTED" not in done.output


@pytest.mark.slow
@pytest.mark.parametrize("destination", [(), ("labels",)], ids=["layers", "cohort"])
def test_each_of_several_devices_has_a_process_and_a_part(tmp_path, destination):
    cohort = cohort_of(tmp_path)
    torch.jit.script(torch.nn.Conv3d(1, 2, 1)).save(str(tmp_path / "net.pt"))
    words = ["infer", "net.pt", "cohort", *destination, "--patch-size", "8", "--device", "cpu"]
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "voxarray", *words, "--partition", f"{part}/2"], cwd=tmp_path
        )
        for part in (1, 2)
    ]
    assert [run.wait() for run in runs] == [0, 0]
    if destination:
        done = CliRunner().invoke(main, ["finalise", str(tmp_path / "labels")])
        assert done.exit_code == 0, done.output
        made = vx.Cohort(tmp_path / "labels")
        assert (made.names, len(made)) == (cohort.names, 2)
    else:
        found = vx.Cohort(cohort.path).table["labels"]
        assert [list(names) for names in found] == [["prediction"]] * 2
