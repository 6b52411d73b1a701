"""Who makes something of a cohort is told which of its images are not there."""

from __future__ import annotations

import re
import shutil
import warnings

import pytest
from cohort_samples import archives, run, save

import voxarray as vx
from voxarray.cohort.catalogue.finalise import finalise
from voxarray.cohort.run.build import ExecutionOptions, build

PIPELINE = "- operation: Flip\n  arguments: {axes: [0]}\n"


@pytest.fixture
def half(tmp_path):
    """A cohort of four scans that was finalised when half of them were converted."""
    for number in range(4):
        save(tmp_path / f"in/{number}.nii", number)
    run("plan", tmp_path / "in", tmp_path / "out")
    build(tmp_path / "in", tmp_path / "out", run=ExecutionOptions(partition=(1, 2)))
    finalise(tmp_path / "out")
    (tmp_path / "p.yaml").write_text(PIPELINE)
    return tmp_path / "out"


def export(cohort, to):
    cohort.save(to, suffix=".nii")


def save_again(cohort, to):
    cohort.save(to)


def preprocess(cohort, to):
    cohort.map(vx.Flip(0)).save(to)


def plan(cohort, to):
    cohort.map(vx.Flip(0)).plan(to)


MAKE = pytest.mark.parametrize("make", [export, save_again, preprocess, plan])


@MAKE
def test_a_part_of_a_cohort_is_not_made_silently(half, tmp_path, make):
    cohort = vx.Cohort(half)
    absent = sorted({"0", "1", "2", "3"} - set(cohort.names))
    with pytest.warns(vx.VoxarrayWarning, match="IMAGES_ABSENT") as told:
        make(cohort, tmp_path / "made")
    (text,) = [str(one.message) for one in told if "IMAGES_ABSENT" in str(one.message)]
    assert "lists 4 images, and 2 of them have no archive (2 were not converted yet)" in text
    assert f"{absent[0]}/image" in text
    assert ("voxarray finalise" in text, "report.txt" in text) == (True, False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", vx.VoxarrayWarning)
        make(cohort.query("channels == 1"), tmp_path / "chosen")


def test_failed_images_are_counted_apart(half, tmp_path):
    (tmp_path / "in/3.nii").write_bytes(b"no scan")
    save(tmp_path / "in/4.nii", 4)
    build(tmp_path / "in", half)
    message = r"lists 5 images, and 1 of them .*\(1 failed\)"
    with pytest.warns(vx.VoxarrayWarning, match=message) as told:
        export(vx.Cohort(half), tmp_path / "made")
    (text,) = [str(one.message) for one in told if "IMAGES_ABSENT" in str(one.message)]
    assert ("voxarray finalise" in text, "report.txt" in text) == (False, True)


@MAKE
def test_the_query_of_the_warning_leaves_out_what_failed(half, tmp_path, make):
    (tmp_path / "in/3.nii").write_bytes(b"no scan")
    build(tmp_path / "in", half)
    cohort = vx.Cohort(half)
    with pytest.warns(vx.VoxarrayWarning, match="IMAGES_ABSENT") as told:
        make(cohort, tmp_path / "made")
    (text,) = [str(one.message) for one in told if "IMAGES_ABSENT" in str(one.message)]
    query = re.search(r'--query "(.+?)", or cohort\.query\("(.+)"\)$', text)
    assert query is not None
    assert query[1] == query[2]
    with warnings.catch_warnings():
        warnings.simplefilter("error", vx.VoxarrayWarning)
        make(cohort.query(query[1]), tmp_path / "chosen")


@pytest.mark.parametrize(
    "words",
    [
        ("convert", "{cohort}", "{made}", "--suffix", ".nii"),
        ("convert", "{cohort}", "{made}"),
        ("preprocess", "{cohort}", "{made}", "--pipeline", "{folder}/p.yaml"),
    ],
)
def test_commands_say_so(half, tmp_path, words):
    places = {"cohort": half, "made": tmp_path / "made", "folder": tmp_path}
    result = run(*(word.format(**places) for word in words))
    assert (result.exit_code, "2 converted" in result.stdout) == (0, True)
    assert "2 of them have no archive" in result.stderr


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_an_archive_that_is_gone_stops_no_other(tmp_path, kind):
    for number in range(3):
        for name in ("t1", "t2"):
            save(tmp_path / f"in/{number}_{name}.nii", number)
    words = ("--image-pattern", "t1={subject}_t1.nii", "--image-pattern", "t2={subject}_t2.nii")
    run("convert", tmp_path / "in", tmp_path / "out", *words)
    (tmp_path / "p.yaml").write_text(PIPELINE)
    step = ("--pipeline", tmp_path / "p.yaml")
    assert run("preprocess", tmp_path / "out", tmp_path / "new", *step).exit_code == 0
    gone = archives(tmp_path / "out")[2]
    shutil.rmtree(gone)
    if kind == "file":
        gone.touch()
    for _ in range(2):
        result = run("preprocess", tmp_path / "out", tmp_path / "new", *step)
        assert result.exit_code == 3
        assert "0 converted, 4 up to date, 2 failed" in result.stdout
        assert gone.name in result.stderr
    # What was made of it before is not taken for a result of now.
    assert vx.Cohort(tmp_path / "new").names == ["0", "2"]
    result = run("convert", tmp_path / "out", tmp_path / "again", "--codec", "fast")
    assert (result.exit_code, "4 converted, 0 up to date, 2 failed" in result.stdout) == (3, True)
