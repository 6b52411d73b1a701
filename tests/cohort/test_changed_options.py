"""Options that a second run leaves out: it says which, before anything is made again or lost."""

from __future__ import annotations

import json

import pytest
from cohort_samples import alter, archives, run, save, touch, truth

import voxarray as vx
from voxarray.core.errors import ArchiveExistsError
from voxarray.testing.counting import count_reads

KEEP = ("--keep-metadata", "descrip")
CHANGE = "keep-metadata descrip -> none"


@pytest.fixture
def made(tmp_path):
    for number in range(3):
        save(tmp_path / f"in/{number}.nii", number)
    assert convert(tmp_path, *KEEP).exit_code == 0
    return tmp_path / "out"


def convert(tmp_path, *more):
    return run("convert", tmp_path / "in", tmp_path / "out", *more)


def plan(tmp_path, *more):
    return run("plan", tmp_path / "in", tmp_path / "out", *more)


def test_what_was_added_is_refused_at_once_by_the_name_of_the_option(made, tmp_path):
    vx.Archive(archives(made)[0]).add_notes(quality="good")
    before = truth(made)
    for attempt in (convert, lambda t: plan(t, "--slurm", 2), plan):
        refused = attempt(tmp_path)
        assert refused.exit_code not in (0, 3)
        assert "CONTENT_ADDED" in refused.stderr
        assert CHANGE in refused.stderr
        assert archives(made)[0].name in refused.stderr
        assert "#!/bin" not in refused.stdout
        assert truth(made) == before
    assert vx.Cohort(made).names == ["0", "1", "2"]
    assert vx.verify(made) == []
    with pytest.raises(ArchiveExistsError, match=CHANGE):
        vx.convert_cohort(tmp_path / "in", made, progress=False)
    assert convert(tmp_path, *KEEP).exit_code == 0
    assert convert(tmp_path, "--overwrite").exit_code == 0
    assert vx.Archive(archives(made)[0]).notes == {}


def test_what_is_made_again_by_other_options_is_told_before(made, tmp_path):
    again = convert(tmp_path)
    assert f"OPTIONS_CHANGED: 3 images of {made} will be converted again" in again.stderr
    assert CHANGE in again.stderr
    assert "OPTIONS_CHANGED" not in convert(tmp_path).stderr
    codec = convert(tmp_path, "--codec", "training", "--chunk", 16)
    assert "chunk default -> 16, codec default -> training" in codec.stderr
    assert "OPTIONS_CHANGED" not in convert(tmp_path, "--overwrite").stderr


def test_saved_cohorts_say_so_too(made, tmp_path):
    flipped = vx.Cohort(made).map(vx.Flip(0))
    new = flipped.save(tmp_path / "new")
    with pytest.warns(vx.VoxarrayWarning, match="OPTIONS_CHANGED.*codec default -> training"):
        flipped.save(tmp_path / "new", codec="training")
    vx.Archive(archives(tmp_path / "new")[0]).add_notes(quality="good")
    with pytest.raises(ArchiveExistsError, match="codec training -> default"):
        flipped.save(tmp_path / "new")
    assert vx.Cohort(tmp_path / "new").names == new.names


def test_a_plan_says_what_is_up_to_date(made, tmp_path):
    assert "3 up to date" in plan(tmp_path, *KEEP, "--dry-run").stdout
    touch(tmp_path / "in/1.nii")
    save(tmp_path / "in/3.nii", 3)
    with count_reads() as reads:
        told = plan(tmp_path, *KEEP, "--dry-run")
    assert reads.voxels == 0
    rows = {line.split(".nii")[0]: line for line in told.stdout.splitlines() if " -> " in line}
    assert rows["0"].endswith("[up to date]")
    assert rows["1"].endswith("[changed]")
    assert rows["3"].endswith("[new]")
    assert "1 new, 2 up to date, 1 changed: convert skips images that are up to date" in told.stdout
    document = json.loads(plan(tmp_path, "--dry-run", "--json").stdout)
    states = [image["state"] for image in document["images"]]
    assert states == ["options changed", "changed", "options changed", "new"]
    assert "4 converted" not in convert(tmp_path, *KEEP).stdout
    assert "[" not in run("plan", tmp_path / "in", tmp_path / "other", "--dry-run").stdout


def test_what_verify_advises_keeps_what_was_added(made, tmp_path):
    vx.Archive(archives(made)[0]).add_notes(quality="good")
    alter(tmp_path / "in/0.nii")
    assert convert(tmp_path, *KEEP).exit_code == 3
    (problem,) = [one for one in vx.verify(made) if one.code == "OUTDATED"]
    assert "to keep what was added to it (the note 'quality')" in str(problem)
    vx.Archive(archives(made)[0]).remove_notes("quality")
    assert convert(tmp_path, *KEEP).exit_code == 0
    assert vx.verify(made) == []
