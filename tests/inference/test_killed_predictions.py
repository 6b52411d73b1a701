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
import torch
from click.testing import CliRunner

import voxarray as vx
from inference.reference import network
from voxarray import archive_object
from voxarray.cli.main import main
from voxarray.inference import cohort_layers

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


@pytest.mark.parametrize("how", ["cohort", "workers", "archive"])
def test_a_layer_that_the_catalogue_was_not_told_of_is_listed_by_the_next_run(
    tmp_path, monkeypatch, how
):
    """It was found and left, and all subjects of the cohort lacked it."""
    cohort, _ = prepared(tmp_path / "work", "cohort")
    torch.jit.script(torch.nn.Conv3d(1, 3, 1)).save(str(tmp_path / "net.pt"))

    def run(**more):
        given = {"patch_size": 8, "classes": 3, "progress": False}
        return vx.infer(tmp_path / "net.pt", vx.Cohort(cohort.path), **given, **more)

    child = os.fork()
    if child == 0:
        monkeypatch.setattr(
            archive_object, "tell_cohorts", lambda _: os.kill(os.getpid(), signal.SIGKILL)
        )
        try:
            run()
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    first = cohort[0].get_first_image().path
    assert list(vx.Archive(first).labels) == ["prediction"]
    assert "prediction" not in vx.Cohort(cohort.path)[0]
    if how == "archive":
        words = ["infer", str(tmp_path / "net.pt"), str(first), "--patch-size", "8"]
        done = CliRunner().invoke(main, [*words, "--classes", "3"])
        assert done.exit_code == 0, done.output
    else:
        made = run(workers=int(how == "workers"))
        assert ["prediction" in subject for subject in made] == [True] * 3
    assert "prediction" in vx.Cohort(cohort.path)[0]
    assert vx.verify(cohort.path) == []


def test_an_archive_that_lacks_the_layer_in_the_catalogue_is_looked_at_though_another_has_it(
    tmp_path, monkeypatch
):
    for number, image in enumerate(("t1", "t2")):
        scan(number).save(tmp_path / "scans" / f"sub-1_{image}.nii")
    patterns = {name: f"{{subject}}_{name}.nii" for name in ("t1", "t2")}
    vx.convert_cohort(
        tmp_path / "scans", tmp_path / "cohort", image_patterns=patterns, progress=False
    )
    cohort = vx.Cohort(tmp_path / "cohort")
    archives = dict(zip(cohort.table["image"], cohort.table["archive"], strict=True))
    first = vx.ScalarImage(f"{cohort.path}/{archives['t1']}")
    label = vx.LabelMap(tensor=np.ones(first.shape, "u1"), affine=first.affine)
    vx.Archive(first.path).add_labels("organs", label)
    told = []
    monkeypatch.setattr(cohort_layers, "tell_cohorts", told.extend)
    cohort_layers._tell_of_found(cohort, cohort.names, "organs")
    assert told == [f"{cohort.path}/{archives['t2']}"]


@pytest.mark.parametrize("part", [(0, 2), (3, 2), (1, 0), "1/2"])
def test_parts_that_are_none_are_refused_for_layers_too(tmp_path, part):
    """Part 0 of 2 was the last subject alone."""
    cohort, _ = prepared(tmp_path / "work", "cohort")
    with pytest.raises(vx.FormatError) as caught:
        vx.infer(NET, cohort, patch_size=8, classes=3, partition=part, progress=False)
    assert caught.value.code == "BAD_PARTITION"
    assert all(list(names) == [] for names in vx.Cohort(cohort.path).table["labels"])
