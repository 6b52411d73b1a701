"""What commands load: little for a header, and torch for no command that makes archives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import dicom_samples
import voxarray as vx

LOADED = """
import sys
from click.testing import CliRunner
from voxarray.cli.main import main
answer = CliRunner().invoke(main, ["info", sys.argv[1]])
assert answer.exit_code == 0, answer.output
print(*sys.modules)
"""

WITHOUT_TORCH = """
import sys
from click.testing import CliRunner

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchio", "monai"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import voxarray as vx
from voxarray.cli.main import main

scan, folder = sys.argv[1:]
for words in (
    ["info", scan],
    ["convert", scan, f"{folder}/a.ome.zarr"],
    ["verify", f"{folder}/a.ome.zarr", "--source", scan],
    ["convert", f"{folder}/a.ome.zarr", f"{folder}/a.nii.gz"],
    ["plan", f"{folder}/in", f"{folder}/cohort"],
    ["convert", f"{folder}/in", f"{folder}/cohort"],
    ["verify", f"{folder}/cohort"],
    ["catalogue", f"{folder}/cohort"],
):
    answer = CliRunner().invoke(main, words)
    assert answer.exit_code == 0, (words, answer.output, answer.exception)
image = vx.Cohort(f"{folder}/cohort")[0].get_images()[0]
assert image.array.sum().compute() == 60
image.save(f"{folder}/b.nii.gz")
assert "torch" not in sys.modules
"""


MAKING = """
import sys
from click.testing import CliRunner
from voxarray.cli.main import main

folder = sys.argv[1]
for words in (
    ["convert", f"{folder}/in/a.nii.gz", f"{folder}/a.ome.zarr"],
    ["plan", f"{folder}/in", f"{folder}/planned"],
    ["convert", f"{folder}/in", f"{folder}/planned", "--partition", "1/1"],
    ["finalise", f"{folder}/planned"],
    ["convert", f"{folder}/in", f"{folder}/cohort"],
):
    answer = CliRunner().invoke(main, words)
    assert answer.exit_code == 0, (words, answer.output, answer.exception)
print(*sys.modules)
"""


@pytest.fixture
def scan(tmp_path) -> Path:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5), "u1"), np.eye(4)), path)
    return path


HEAVY = {
    *("SimpleITK", "dask", "distributed", "nibabel", "numcodecs", "pandas", "pyarrow", "pydicom"),
    *("scipy", "torch", "xarray", "zarr"),
    # Of single commands, or loaded by one call: milliseconds each, of the 200 of a header.
    *("numpy.ma", "voxarray.cohort.plan", "voxarray.storage.remote.writing"),
}


def modules_of_info(path: Path) -> list[str]:
    command = [sys.executable, "-c", LOADED, path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("kind", ["nii.gz", "archive"])
def test_info_loads_few_modules(kind, scan, tmp_path):
    if kind == "archive":
        vx.convert(scan, tmp_path / "a.ome.zarr")
        scan = tmp_path / "a.ome.zarr"
    loaded = modules_of_info(scan)
    assert HEAVY & set(loaded) == set()
    # 74 and 76 when this was written, and 149 before; half of what info takes is importing them.
    assert sum(name.startswith("voxarray") for name in loaded) <= 85


def test_info_of_dicom_loads_no_reader_of_others(tmp_path):
    dicom_samples.series(tmp_path / "dicom")
    loaded = modules_of_info(tmp_path / "dicom")
    assert HEAVY & set(loaded) == set()
    assert sum(name.startswith("voxarray") for name in loaded) <= 120


THREADS = """
import os, sys
from click.testing import CliRunner
from voxarray.cli.main import main
answer = CliRunner().invoke(main, ["info", sys.argv[1]])
assert answer.exit_code == 0, answer.output
assert os.environ.get("OPENBLAS_NUM_THREADS") == (sys.argv[2] or None)
import threadpoolctl
for pool in threadpoolctl.threadpool_info():
    if pool["internal_api"] == "openblas":
        print(pool["num_threads"])
"""


@pytest.mark.parametrize("asked", ["", "2"])
def test_info_starts_no_threads_that_multiply_matrices(scan, monkeypatch, asked):
    pytest.importorskip("threadpoolctl")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    if asked:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", asked)
    command = [sys.executable, "-c", THREADS, scan, asked]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    threads = set(ran.stdout.split())  # none where numpy has another library than OpenBLAS
    assert asked or threads <= {"1"}


def test_images_and_cohorts_are_made_without_torch(scan, tmp_path):
    command = [sys.executable, "-c", WITHOUT_TORCH, scan, tmp_path]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


ONE = """
import sys
from click.testing import CliRunner
from voxarray.cli.main import main
answer = CliRunner().invoke(main, ["convert", *sys.argv[1:]])
assert answer.exit_code == 0, answer.output
print(*sys.modules)
"""


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.nrrd"])
def test_convert_of_one_image_loads_neither_cohorts_nor_dask(name, scan, tmp_path):
    """They took a third of the CPU time of converting a small scan."""
    command = [sys.executable, "-c", ONE, scan, tmp_path / name]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    heavy = HEAVY - {"numcodecs", "voxarray.storage.remote.writing", "numpy.ma", "SimpleITK"}
    assert heavy & loaded == set()
    parts = ("catalogue", "cohort", "discover", "plan", "run.build", "run.task")
    assert {f"voxarray.cohort.{part}" for part in parts} & loaded == set()


def test_archives_and_cohorts_are_made_without_tables_and_graphs(scan, tmp_path):
    """Half of what a command takes for a small scan was importing xarray, pandas and scipy."""
    command = [sys.executable, "-c", MAKING, tmp_path]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    heavy = HEAVY - {"dask", "numcodecs", "pyarrow", "numpy.ma"} | {"dask.array"}
    assert {one for one in heavy if not one.startswith("voxarray")} & {*ran.stdout.split()} == set()
