"""Cohorts of scans in a bucket, by processes that have credentials from the environment alone."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

import voxarray as vx

SECRET = "CNRYSECRET"
COUNT = 12
pytestmark = pytest.mark.slow


@pytest.fixture
def prefix(bucket, tmp_path):
    """A dozen scans under a prefix, and as files in ``in``."""
    (tmp_path / "in").mkdir()
    for number in range(COUNT):
        voxels = np.random.default_rng(number).integers(1, 900, (1, 32, 30, 28)).astype("i2")
        path = tmp_path / f"in/sub-{number:02}.nii.gz"
        vx.ScalarImage(tensor=voxels, affine=np.diag([1, 1.5, 2, 1])).save(path)
        bucket.put(f"study/{path.name}", path.read_bytes())
    return f"{bucket.url}/study/"


@pytest.fixture
def call(bucket, tmp_path):
    """Runs a command, which ends once so many archives are there, if a number is given."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("DASK_")},
        "AWS_ACCESS_KEY_ID": SECRET,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": bucket.endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
    }

    def run(*words, killed_at=0):
        process = subprocess.Popen(
            [sys.executable, "-m", "voxarray", *map(str, words), "--verbose"],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        while killed_at and process.poll() is None:
            if len(list((tmp_path / words[2]).glob("subjects/*"))) >= killed_at:
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.01)
        told = process.communicate()[0]
        assert SECRET not in told
        return process.returncode, told

    return run


def contents(cohort):
    """Digests of all files but manifests, which also hold what an archive was made of."""
    return {
        str(file.relative_to(cohort)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted((cohort / "subjects").rglob("*"))
        if file.is_file() and file.name != "manifest.json"
    }


def test_workers_and_parts_that_are_killed_make_the_local_cohort_and_tell_no_secret(
    prefix, call, tmp_path
):
    vx.convert_cohort(tmp_path / "in", tmp_path / "local", progress=False)
    workers = ("convert", prefix, "workers", "--workers", 2)
    assert call(*workers, killed_at=3)[0] == -signal.SIGKILL
    assert call(*workers)[0] == 0
    assert call("plan", prefix, "parts", "--slurm", 2)[0] == 0
    part = ("convert", prefix, "parts", "--partition")
    assert call(*part, "1/2", killed_at=2)[0] == -signal.SIGKILL
    assert [call(*part, f"{number}/2")[0] for number in (1, 2)] == [0, 0]
    assert call("finalise", "parts")[0] == 0
    expected = contents(tmp_path / "local")
    table = pd.read_parquet(tmp_path / "local/catalogue.parquet")
    for made in ("workers", "parts"):
        assert contents(tmp_path / made) == expected
        assert pd.read_parquet(tmp_path / made / "catalogue.parquet").equals(table)
    assert [
        str(file)
        for file in tmp_path.rglob("*")
        if file.is_file() and (SECRET.encode() in file.read_bytes() or SECRET in file.name)
    ] == []
