"""Large images are divided among workers, and nobody can tell afterwards."""

from __future__ import annotations

import os
import random
import signal
import time

import dask.config
import pytest
from cohort_samples import alter, report_codes, save, truth
from test_interruptions import check_whole, start

import voxarray as vx
from voxarray.cohort.catalogue.journal import records
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.run import dask as on_dask
from voxarray.cohort.run.build import ExecutionOptions, build
from voxarray.cohort.run.dask_client import client_of
from voxarray.cohort.run.divided_images import parts_of
from voxarray.cohort.run.job import Job

OPTIONS = ArchiveOptions(chunk=8)
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def source(tmp_path):
    save(tmp_path / "in/large.nii", 1, (40, 40, 200))
    save(tmp_path / "in/stream.nii.gz", 2, (40, 40, 200))
    save(tmp_path / "in/small.nii", 3)
    build(tmp_path / "in", tmp_path / "whole", options=OPTIONS)
    return tmp_path / "in"


@pytest.fixture(scope="module")
def two():
    """Two workers that are there already: starting them takes longer than these cohorts."""
    with client_of(2, None, overlapping=False, share={}) as client:
        yield client.scheduler.address


@pytest.fixture
def jobs(monkeypatch):
    """What was divided, by the names of archives."""
    seen: dict[str, list[range]] = {}

    def parts(job: Job, workers: int):
        found = parts_of(job, workers)
        seen.update(found)
        return found

    monkeypatch.setattr(on_dask, "parts_of", parts)
    return seen


@pytest.mark.parametrize("zipped", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_divided_image_is_the_same(tmp_path, source, jobs, zipped):
    options = ArchiveOptions(chunk=8, zipped=zipped)
    build(source, tmp_path / "like", options=options)
    with dask.config.set({"voxarray.split-from": "100 KiB"}):
        made = build(source, tmp_path / "out", options=options, run=ExecutionOptions(workers=2))
    assert (made.converted, made.failed) == (3, 0)
    assert [slug.split("-")[0] for slug in jobs] == ["large"]  # a stream never is
    assert truth(tmp_path / "out") == truth(tmp_path / "like")
    assert not (tmp_path / "out/staging").exists()
    assert len(list(records(str(tmp_path / "out/journal")))) == 3


def test_only_what_would_be_waited_for_is_divided(tmp_path, source, jobs, two):
    for number in range(9):
        save(source / f"more-{number}.nii", number, (40, 40, 200))
    with dask.config.set({"voxarray.split-from": "100 KiB"}):
        build(source, tmp_path / "out", options=OPTIONS, run=ExecutionOptions(scheduler=two))
    assert jobs == {}


def test_an_image_that_will_be_refused_is_not_divided(tmp_path, source, jobs, two):
    """So that it is refused at once, and not when all of its parts are written."""
    build(source, tmp_path / "out", options=OPTIONS)
    [path] = (tmp_path / "out/subjects").glob("large*")
    vx.Archive(path).add_notes(quality="good")
    alter(source / "large.nii")
    with dask.config.set({"voxarray.split-from": "100 KiB"}):
        made = build(source, tmp_path / "out", options=OPTIONS, run=ExecutionOptions(scheduler=two))
        assert [one.code for one in made.failures] == ["CONTENT_ADDED"]
        assert jobs == {}
        run = ExecutionOptions(scheduler=two, overwrite=True)
        assert build(source, tmp_path / "out", options=OPTIONS, run=run).converted == 3
    assert [slug.split("-")[0] for slug in jobs] == ["large"]


def test_small_images_are_not_divided(tmp_path, source, jobs, two):
    build(source, tmp_path / "out", options=OPTIONS, run=ExecutionOptions(scheduler=two))
    assert jobs == {}


def test_what_is_wrong_with_a_part_is_reported(tmp_path, monkeypatch, source, two):
    file = source / "large.nii"

    def planned_then_cut(job: Job, workers: int):
        found = parts_of(job, workers)
        with open(file, "r+b") as opened:
            opened.truncate(os.path.getsize(file) - 999)
        return found

    monkeypatch.setattr(on_dask, "parts_of", planned_then_cut)
    with dask.config.set({"voxarray.split-from": "100 KiB"}):
        made = build(source, tmp_path / "out", options=OPTIONS, run=ExecutionOptions(scheduler=two))
    assert (made.converted, made.failed) == (2, 1)
    assert report_codes(tmp_path / "out") == {"large.nii": "SOURCE_CHANGED"}
    assert not (tmp_path / "out/staging").exists()


@pytest.mark.slow
def test_a_divided_image_survives_kills(tmp_path, source, monkeypatch):
    monkeypatch.setenv("DASK_VOXARRAY__SPLIT_FROM", "100 KiB")
    command = ("convert", source, tmp_path / "out", "--workers", 2, "--chunk", 8)
    moments = random.Random(5)
    for number in range(12):
        with start(*command) as process:
            deadline = time.monotonic() + 30
            while not list((tmp_path / "out").glob("staging/.large*")):
                if process.poll() is not None or time.monotonic() > deadline:
                    break
                time.sleep(0.005)
            time.sleep(moments.uniform(0, 0.15))
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        check_whole(tmp_path / "out")
        if number % 4 == 3:
            with start(*command) as process:
                process.communicate(timeout=200)
                assert process.returncode == 0
            assert truth(tmp_path / "out") == truth(tmp_path / "whole")
            assert not (tmp_path / "out/staging").exists()
            import shutil

            shutil.rmtree(tmp_path / "out")
