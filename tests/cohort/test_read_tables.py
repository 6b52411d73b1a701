"""Catalogues as they are read: by one thread, and with spacings without noise."""

from __future__ import annotations

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from cohort_samples import save

import voxarray as vx
from voxarray.cohort.catalogue import parquet, rows
from voxarray.cohort.discover import manifest_table
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.run.build import build

THREADS = """
import os, sys
import pandas, pyarrow.parquet
from voxarray.cohort.catalogue import parquet
from voxarray.cohort.discover import manifest_table

def threads():
    return set(os.listdir("/proc/self/task"))

before = threads()
assert len(parquet.read(sys.argv[1]))
assert manifest_table._names_and_rows(sys.argv[1])[1]
print(len(threads() - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_no_thread_outlives_what_reads_a_table(tmp_path):
    """One that did aborted the process if it held a buffer when the interpreter ended."""
    save(tmp_path / "in/a.nii", 0)
    build(tmp_path / "in", tmp_path / "out")
    code = [sys.executable, "-c", THREADS, str(tmp_path / "out/catalogue.parquet")]
    done = subprocess.run(code, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"], done.stderr


def oblique(folder, *spacings):
    """Scans of these spacings, turned about an axis each, whose affines have 32 bits."""
    folder.mkdir()
    for number, spacing in enumerate(spacings):
        q, _ = np.linalg.qr(np.random.default_rng(number).normal(size=(3, 3)))
        affine = np.eye(4)
        affine[:3, :3] = q @ np.diag(spacing)
        nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), "i2"), affine), folder / f"{number}.nii")


def test_spacings_of_turned_scans_are_those_of_their_voxels(tmp_path):
    oblique(tmp_path / "in", *[(1, 1, 2)] * 8, (0.00325, 0.4688, 7.5))
    build(tmp_path / "in", tmp_path / "out")
    cohort = vx.Cohort(tmp_path / "out")
    assert len(cohort.query("spacing_max == 2")) == 8
    assert (len(cohort.query("spacing_max > 2")), len(cohort.query("spacing_min < 1"))) == (1, 1)
    assert cohort.table.loc[8, list(rows.SPACINGS)].tolist() == [0.00325, 0.4688, 7.5, 0.00325, 7.5]


def test_catalogues_of_earlier_releases_have_no_noise_either(tmp_path, monkeypatch):
    oblique(tmp_path / "in", *[(1, 1, 2)] * 8)
    with monkeypatch.context() as patch:
        patch.setattr(rows, "rounded", float)
        build(tmp_path / "in", tmp_path / "out")
    noisy = parquet.read(CohortLayout(str(tmp_path / "out")).catalogue)
    assert any(noisy.spacing_max != 2)
    assert len(vx.Cohort(tmp_path / "out").query("spacing_max == 2")) == 8
    assert vx.verify(tmp_path / "out") == []
    again = build(tmp_path / "in", tmp_path / "out")
    assert again.converted == 0


def test_a_manifest_may_be_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as tables

    path = str(tmp_path / "scans.parquet")
    tables.write_table(pyarrow.table({"t1": ["a.nii", None], "age": [1, 2]}), path)
    names, found = manifest_table._names_and_rows(path)
    assert (list(names), found[0]["t1"]) == (["t1", "age"], "a.nii")
