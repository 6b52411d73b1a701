"""Folders of scans become archives: all that are good, and the others by name."""

from __future__ import annotations

import json
import os
import time

import numpy as np
import pytest
from cohort_samples import (
    SUFFIXES,
    archives,
    array,
    make_cohort,
    report_codes,
    run,
    save,
    touch,
    tree,
    truth,
    voxels,
)

from voxarray.archive.staging import hidden_name
from voxarray.archive.verify import compare, verify
from voxarray.cohort import Cohort
from voxarray.cohort.catalogue.finalise import finalise
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.plan.item import Failure
from voxarray.cohort.run import build as run_module
from voxarray.cohort.run.build import ExecutionOptions, build
from voxarray.core.errors import FormatError, MissingFileError
from voxarray.formats.registry import open_source
from voxarray.storage.folder_lock import FolderLock
from voxarray.testing.counting import count_reads


def check_cohort(tmp_path, good: int, bad: int) -> None:
    """One run publishes exactly the good ones; another changes nothing; new files are added."""
    source, cohort = tmp_path / "in", tmp_path / "out"
    codes = make_cohort(source, good, bad)
    made = build(source, cohort)
    assert (made.converted, made.failed, made.remaining) == (good, bad, 0)
    assert report_codes(cohort) == codes
    assert len(archives(cohort)) == good
    before = tree(cohort)
    began = time.process_time()
    with count_reads() as reads:
        again = build(source, cohort)
    assert time.process_time() - began < 20
    assert (again.converted, again.present, again.failed) == (0, good, bad)
    assert tree(cohort) == before
    assert reads.voxels == 0
    for number in range(10):
        save(source / f"new-{number}{SUFFIXES[number % 5]}", 10_000 + number)
    more = build(source, cohort)
    assert (more.converted, more.present, more.failed) == (10, good, bad)


def test_a_cohort_with_bad_scans(tmp_path):
    check_cohort(tmp_path, good=30, bad=20)
    assert "BAD_CRC" in (tmp_path / "out/report.txt").read_text()


def test_what_a_worker_of_the_run_has_left_is_removed_at_its_end(tmp_path, monkeypatch):
    save(tmp_path / "in/a.nii.gz")
    staging, carry_out = tmp_path / "out/staging", run_module.carry_out

    def killed_while_at_work(*arguments):
        for name in ("a.ome.zarr", "b.ome.zarr"):
            left = FolderLock.make(str(staging), lambda name=name: hidden_name(name))
            if name.startswith("a"):
                left.release()
            else:
                others.append(left)
        return carry_out(*arguments)

    others = []
    monkeypatch.setattr(run_module, "carry_out", killed_while_at_work)
    assert build(tmp_path / "in", tmp_path / "out").converted == 1
    assert [str(one) for one in staging.iterdir()] == [others[0].folder]
    others[0].release()


def test_verify_says_why_an_archive_is_missing(tmp_path):
    """To convert again, as it said before, does not help if the file is damaged."""
    save(tmp_path / "in/good.nii.gz")
    bad = save(tmp_path / "in/bad.nii.gz")
    bad.write_bytes(bad.read_bytes()[:-8] + b"12345678")
    build(tmp_path / "in", tmp_path / "out")
    result = run("verify", tmp_path / "out")
    assert "bad.nii.gz: was planned, but its conversion failed: BAD_CRC: " in result.stderr
    assert "convert again" not in result.stderr
    assert ".ome.zarr: 1 problem\n" in result.stderr
    assert "1 OK (" in result.stdout
    assert "), 1 with problems; in" in result.stdout


@pytest.mark.slow
def test_two_thousand_scans(tmp_path):
    check_cohort(tmp_path, good=1900, bad=100)


@pytest.mark.parametrize("zipped", [False, True])
def test_archives_are_what_the_files_are(tmp_path, zipped):
    for number, suffix in enumerate(SUFFIXES):
        save(tmp_path / f"in/{number}{suffix}", number)
    made = build(tmp_path / "in", tmp_path / "out", options=ArchiveOptions(zipped=zipped))
    assert made.converted == len(SUFFIXES)
    for number, (path, suffix) in enumerate(zip(archives(tmp_path / "out"), SUFFIXES, strict=True)):
        assert verify(path) == []
        assert compare(path, open_source(tmp_path / f"in/{number}{suffix}")) == []
        assert np.array_equal(voxels(path), array(number))


def test_a_changed_source_is_converted_again(tmp_path):
    for number in range(3):
        save(tmp_path / f"in/{number}.nii", number)
    build(tmp_path / "in", tmp_path / "out")
    save(tmp_path / "in/1.nii", 77)
    touch(tmp_path / "in/1.nii")
    made = build(tmp_path / "in", tmp_path / "out")
    assert (made.converted, made.present) == (1, 2)
    assert np.array_equal(voxels(archives(tmp_path / "out")[1]), array(77))


def test_other_options_convert_again(tmp_path):
    save(tmp_path / "in/a.nii")
    build(tmp_path / "in", tmp_path / "out")
    made = build(tmp_path / "in", tmp_path / "out", options=ArchiveOptions(chunk=8))
    assert made.converted == 1
    with pytest.raises(FormatError, match="--zip") as caught:
        build(tmp_path / "in", tmp_path / "out", options=ArchiveOptions(zipped=True))
    assert caught.value.code == "OTHER_FORM"


def test_another_source_of_the_same_names_does_not_replace(tmp_path):
    save(tmp_path / "in/a.nii", 1)
    save(tmp_path / "other/a.nii", 2)
    build(tmp_path / "in", tmp_path / "out")
    with pytest.raises(FormatError, match="other sources") as caught:
        build(tmp_path / "other", tmp_path / "out")
    assert caught.value.code == "OTHER_SOURCE"
    assert np.array_equal(voxels(archives(tmp_path / "out")[0]), array(1))


def test_a_source_that_goes_bad_is_reported_and_its_archive_no_longer_listed(tmp_path):

    save(tmp_path / "in/a.nii", 1)
    save(tmp_path / "in/b.nii", 2)
    build(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in/a.nii").write_bytes(b"")
    made = build(tmp_path / "in", tmp_path / "out")
    assert (made.present, made.failed) == (1, 1)
    assert Cohort(tmp_path / "out").names == ["b"]


def test_permanent_failures_are_not_tried_again_unless_asked(tmp_path):
    make_cohort(tmp_path / "in", 1, 5)
    build(tmp_path / "in", tmp_path / "out")
    journals = len(list((tmp_path / "out/journal").iterdir()))
    build(tmp_path / "in", tmp_path / "out")
    assert len(list((tmp_path / "out/journal").iterdir())) == journals
    made = build(tmp_path / "in", tmp_path / "out", run=ExecutionOptions(retry=True))
    assert made.failed == 5


def test_plans_keep_the_key_of_earlier_releases_for_permanent_failures(tmp_path):
    make_cohort(tmp_path / "in", 0, 1)
    build(tmp_path / "in", tmp_path / "out")
    (item,) = json.loads((tmp_path / "out/plan.json").read_text())["items"]
    assert item["failure"]["lasting"] is True
    failure = Failure.from_json(item["failure"])
    assert failure.permanent
    assert failure.to_json() == item["failure"]


def test_max_failures_stops(tmp_path):
    make_cohort(tmp_path / "in", 3, 20)
    result = run("convert", tmp_path / "in", tmp_path / "out", "--max-failures", 1)
    assert result.exit_code in (1, 3)
    assert "--max-failures" in result.stderr
    assert "run the same command again" in result.stderr


def test_the_budget_is_kept_per_image(tmp_path, monkeypatch):
    import dask.config

    save(tmp_path / "in/a.nii", 1)
    with dask.config.set({"voxarray.memory-budget": "1 KiB"}):
        made = build(tmp_path / "in", tmp_path / "out")
    assert made.failed == 1
    assert report_codes(tmp_path / "out") == {"a.nii": "OVER_BUDGET"}
    assert build(tmp_path / "in", tmp_path / "out").converted == 1  # not remembered: of the day


def test_a_source_without_images_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    for source in ("in", "absent"):
        with pytest.raises(MissingFileError):
            build(tmp_path / source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_partitions_in_any_order_and_twice(tmp_path):
    source, cohort, whole = tmp_path / "in", tmp_path / "out", tmp_path / "whole"
    make_cohort(source, 7, 2)
    build(source, whole)
    assert run("convert", source, cohort, "--partition", "1/3").exit_code == 1  # no plan yet
    assert run("plan", source, cohort).exit_code == 0
    for part in (3, 1, 3, 2, 1):
        assert run("convert", source, cohort, "--partition", f"{part}/3").exit_code in (0, 1, 3)
    assert run("finalise", cohort).exit_code == 3
    assert truth(cohort) == truth(whole)


def test_a_plan_is_frozen(tmp_path):
    source, cohort = tmp_path / "in", tmp_path / "out"
    save(source / "a.nii", 1)
    save(source / "b.nii", 2)
    assert run("plan", source, cohort).exit_code == 0
    save(source / "a.nii", 9)
    touch(source / "a.nii")
    (source / "b.nii").unlink()
    save(source / "new.nii")
    assert run("convert", source, cohort, "--partition", "1/1").exit_code == 1
    assert run("finalise", cohort).exit_code == 1
    assert report_codes(cohort) == {"a.nii": "SOURCE_CHANGED", "b.nii": "NOT_FOUND"}


def test_a_dry_run_writes_nothing(tmp_path):
    save(tmp_path / "in/a.nii")
    result = run("plan", tmp_path / "in", tmp_path / "out", "--dry-run")
    assert "(1, 12, 10, 8), 1.5 x 1 x 2 mm, SLA+, int16" in result.output
    assert not (tmp_path / "out").exists()


def test_finalise_makes_everything_again(tmp_path):
    make_cohort(tmp_path / "in", 4, 3)
    build(tmp_path / "in", tmp_path / "out")
    before = tree(tmp_path / "out")
    for name in ("catalogue.parquet", "report.parquet", "report.txt"):
        (tmp_path / "out" / name).unlink()
    assert run("finalise", tmp_path / "out").exit_code == 3
    assert tree(tmp_path / "out") == before
    os.unlink(tmp_path / "out/plan.json")  # what is there is told without it
    assert run("finalise", tmp_path / "out").exit_code == 0


def test_strangers_are_named(tmp_path):
    save(tmp_path / "in/a.nii")
    build(tmp_path / "in", tmp_path / "out")
    (tmp_path / "out/subjects/mine.ome.zarr").mkdir()
    assert "mine.ome.zarr" in run("finalise", tmp_path / "out").stderr


def test_verify(tmp_path):
    for number in range(3):
        save(tmp_path / f"in/{number}.nii", number)
    build(tmp_path / "in", tmp_path / "out")
    for more in ([], ["--quick"], ["--source", tmp_path / "in"]):
        result = run("verify", tmp_path / "out", *more)
        assert result.exit_code == 0
        assert result.output.count(": OK") == 3
    shard = archives(tmp_path / "out")[1] / "scale0/image/c/0/0/0/0"
    data = bytearray(shard.read_bytes())
    data[40] ^= 1
    shard.write_bytes(data)
    assert run("verify", tmp_path / "out", "--quick").exit_code == 0  # sizes alone
    assert run("verify", tmp_path / "out").exit_code == 3
    shard.write_bytes(data[:-1])
    assert "BAD_SIZE" in run("verify", tmp_path / "out", "--quick").stderr
    touch(tmp_path / "in/0.nii")
    told = run("verify", tmp_path / "out", "--source", tmp_path / "in").stderr
    assert "SOURCE_CHANGED: 0.nii: was changed after it was planned: convert again" in told
    import shutil

    shutil.rmtree(archives(tmp_path / "out")[2])
    assert "MISSING" in run("verify", tmp_path / "out", "--quick").stderr


def test_a_catalogue_that_is_a_link_is_finalised_where_it_leads(tmp_path):
    make_cohort(tmp_path / "in", 2, 0)
    build(tmp_path / "in", tmp_path / "out")
    catalogue = tmp_path / "out" / "catalogue.parquet"
    elsewhere = tmp_path / catalogue.name
    catalogue.rename(elsewhere)
    catalogue.symlink_to(elsewhere)
    assert finalise(tmp_path / "out").done == 2
    assert catalogue.is_symlink()
