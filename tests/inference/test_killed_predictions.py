"""Processes that are killed while they predict: whole results or none, and equal reruns."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import time

import numpy as np
import pytest

import voxarray as vx
from inference.reference import network

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")


NET = network(3)


def unhurried(batch):
    time.sleep(0.002)
    return NET(batch)


def scan(seed):
    voxels = np.random.default_rng(seed).random((1, 18, 17, 16), np.float32)
    return vx.ScalarImage(tensor=voxels, affine=np.diag([0.75, 1, 2, 1]))


def prepared(folder, kind):
    """What is predicted, and where to."""
    folder.mkdir()
    if kind == "layer":
        vx.convert(scan(0), folder / "scan.ome.zarr")
        return folder / "scan.ome.zarr", None
    if kind == "cohort":
        (folder / "scans").mkdir()
        for number in range(3):
            scan(number).save(folder / "scans" / f"sub-{number}.nii")
        vx.convert_cohort(folder / "scans", folder / "cohort", progress=False)
        return vx.Cohort(folder / "cohort"), folder / "labels"
    scan(0).save(folder / "scan.nii")
    return folder / "scan.nii", folder / f"labels{kind}"


def predict(images, destination):
    vx.infer(unhurried, images, destination, patch_size=8, classes=3, progress=False)


def digests(folder, kind):
    """sha256 of what stands for results, by name; without journals, which have times."""
    if kind == "layer":
        layers = vx.Archive(folder / "scan.ome.zarr").labels
        return {k: hashlib.sha256(v.numpy().tobytes()).hexdigest() for k, v in layers.items()}
    roots = {"cohort": folder / "labels" / "subjects"}.get(kind, folder / f"labels{kind}")
    files = [roots] if roots.is_file() else sorted(p for p in roots.rglob("*") if p.is_file())
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
        if not any(part.startswith(".") for part in p.relative_to(folder).parts)
    }


def remove(images, destination):
    """All that was predicted, and what a killed run left."""
    if destination is None:
        vx.Archive(images).remove_labels("prediction")
    elif destination.is_dir():
        shutil.rmtree(destination)
    else:
        destination.unlink()


@pytest.mark.parametrize(
    "kills", [2, pytest.param(25, marks=pytest.mark.slow)], ids=["few", "many"]
)
@pytest.mark.parametrize("kind", [".ome.zarr", ".nii.gz", "layer", "cohort"])
def test_a_rerun_after_a_kill_equals_the_unbroken_run(tmp_path, kind, kills):
    folder = tmp_path / "work"
    images, destination = prepared(folder, kind)
    began = time.perf_counter()
    predict(images, destination)
    duration = time.perf_counter() - began
    whole = digests(folder, kind)
    assert whole
    moments = random.Random(7)
    killed = 0
    for _ in range(kills):
        remove(images, destination)
        child = os.fork()
        if child == 0:
            try:
                predict(images, destination)
            finally:
                os._exit(0)
        time.sleep(moments.random() * duration)
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        left = digests(folder, kind)
        if kind == "cohort":
            assert left.items() <= whole.items()
        else:
            assert left in ({}, whole)
        if left != whole or kind == "cohort":
            predict(images, destination)
        assert digests(folder, kind) == whole
        if kind in ("layer", ".ome.zarr"):
            assert vx.verify(destination or images) == []
    assert killed
