"""The files for workflow engines that the page on clusters names.

Snakemake is run where it is: on PATH, or as ``VOXARRAY_SNAKEMAKE`` names it (an environment of its
own: ``python -m venv snake && snake/bin/pip install snakemake``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import voxarray as vx

FILES = Path(__file__).parents[2] / "notebooks/pages/how-to/cluster"
SNAKEMAKE = os.environ.get("VOXARRAY_SNAKEMAKE") or shutil.which("snakemake")


@pytest.mark.skipif(SNAKEMAKE is None, reason="no snakemake, and no VOXARRAY_SNAKEMAKE")
def test_snakemake_makes_a_cohort(tmp_path):
    (tmp_path / "scans").mkdir()
    for number in range(7):
        voxels = np.random.default_rng(number).integers(0, 99, (12, 10, 8)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / f"scans/{number}.nii.gz")
    (tmp_path / "scans/bad.nii").write_bytes(b"nothing")
    command = [SNAKEMAKE, "--snakefile", FILES / "Snakefile", "--cores", "2"]
    named = ("source=scans", "destination=my cohort", "parts=3")
    config = [*named, f"voxarray={sys.executable} -m voxarray"]
    for _ in range(2):
        subprocess.run([*command, "--config", *config], cwd=tmp_path, check=True)
    table = vx.Cohort(tmp_path / "my cohort").table
    assert sorted(table.status) == ["done"] * 7 + ["failed"]
    problems = vx.verify(tmp_path / "my cohort", source=tmp_path / "scans")
    assert ["bad.nii" in str(problem) for problem in problems] == [True]
