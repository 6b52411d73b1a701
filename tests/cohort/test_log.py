"""The log of an image (`Cohort.log`, ``voxarray catalogue --log``): attempts and failures."""

from __future__ import annotations

import json
import re

from cohort_samples import run, save

from voxarray.cohort import Cohort
from voxarray.cohort.run.build import build


def test_each_image_has_a_log(tmp_path):
    save(tmp_path / "in/good.nii.gz")
    bad = save(tmp_path / "in/bad.nii.gz")
    bad.write_bytes(bad.read_bytes()[:-8] + b"12345678")
    build(tmp_path / "in", tmp_path / "out")
    cohort = Cohort(tmp_path / "out")
    good_log, bad_log = cohort.log("good"), cohort.log("bad")
    assert [event["status"] for event in good_log] == ["begun", "converted"]
    assert good_log[1]["seconds"] > 0
    assert good_log[1]["voxel_bytes"] == 12 * 10 * 8 * 2
    assert [event["status"] for event in bad_log] == ["begun", "failed"]
    assert bad_log[1]["failure"]["code"] == "BAD_CRC"
    told = run("catalogue", tmp_path / "out", "--log", "bad", "--json").output
    assert [json.loads(line) for line in told.splitlines()] == bad_log
    assert run("catalogue", tmp_path / "out", "--log", "nobody").exit_code == 2


def test_the_log_is_printed_in_words(tmp_path):
    save(tmp_path / "in/good.nii.gz")
    bad = save(tmp_path / "in/bad.nii.gz")
    bad.write_bytes(bad.read_bytes()[:-8] + b"12345678")
    (tmp_path / "in/worse.nii").write_bytes(b"x" * 600)
    build(tmp_path / "in", tmp_path / "out")

    def told(subject):
        return run("catalogue", tmp_path / "out", "--log", subject).output.splitlines()

    begun, converted = told("good")
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d  good-\w+: begun", begun)
    assert re.search(r": converted in \d+\.\d s.*: 1.9 KiB of voxels$", converted)
    assert re.search(r": failed after \d+\.\d s.*: BAD_CRC: ", told("bad")[1])
    (never,) = told("worse")
    assert never.startswith("(no time)")
    assert "failed, never tried: NOT_NIFTI: " in never
    assert run("catalogue", tmp_path / "out", "--json").exit_code == 2
    said = " ".join(run("catalogue", "--help").output.split())
    assert "The command takes this from COHORT/journal, and writes nothing" in said


def test_the_log_says_why_an_image_was_never_tried(tmp_path):
    save(tmp_path / "in/good.nii.gz")
    (tmp_path / "in/bad.nii").write_bytes(b"x" * 600)
    build(tmp_path / "in", tmp_path / "out")
    (event,) = Cohort(tmp_path / "out").log("bad")
    assert (event["status"], event["failure"]["code"]) == ("failed", "NOT_NIFTI")
    assert "starts with the number 348" in event["failure"]["message"]
    told = run("catalogue", tmp_path / "out", "--log", "bad", "--json").output
    assert json.loads(told) == event
    assert len(Cohort(tmp_path / "out").log("good")) == 2
    (tmp_path / "out/plan.json").unlink()
    assert Cohort(tmp_path / "out").log("bad") == []
