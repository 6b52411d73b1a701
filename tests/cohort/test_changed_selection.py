"""A cohort that was made with patterns or columns is converted again with none, or with others."""

from __future__ import annotations

import shlex

import pytest
from cohort_samples import run, save, tree

import voxarray as vx
from voxarray.cohort.options import ArchiveOptions, InputSelection
from voxarray.cohort.plan.plan import Plan
from voxarray.cohort.run.build import discover_inputs, make_plan
from voxarray.core.errors import FormatError

T1 = ("--image-pattern", "t1={subject}/*_t1.nii")
SEG = ("--label-pattern", "seg={subject}/*_seg.nii")
FLAIR = ("--image-pattern", "flair={subject}/*_flair.nii")


@pytest.fixture
def scans(tmp_path):
    for subject in "ab":
        for number, name in enumerate(("t1", "flair", "seg")):
            save(tmp_path / f"in/{subject}/{subject}_{name}.nii", number)
    return tmp_path / "in"


def options_in(text, end):
    """Options of the command line that a message shows, as a shell reads them."""
    return shlex.split(text.split("was made with ")[1].split(end)[0])


def test_patterns_that_are_forgotten_are_refused_before_any_work(scans, tmp_path):
    out = tmp_path / "out"
    assert run("convert", scans, out, *T1, *SEG).exit_code == 0
    before = tree(out)
    save(scans / "c/c_t1.nii")
    for command in (("convert",), ("plan",), ("plan", "--dry-run"), ("convert", "--overwrite")):
        told = run(*command, scans, out)
        assert told.exit_code == 1
        assert told.stderr.startswith(f"OTHER_PATTERNS: {out} was made with --image-pattern")
        assert tree(out) == before
    shown = options_in(told.stderr, ". This run")
    assert shown == ["--image-pattern", "t1=PATTERN", "--label-pattern", "seg=PATTERN"]
    assert "Files that were taken: 't1' a/a_t1.nii, 'seg' a/a_seg.nii)" in told.stderr
    assert "t1.nii'" not in told.stderr
    done = run("convert", scans, out, *T1, *SEG)
    assert (done.exit_code, done.stderr) == (0, "")
    assert vx.Cohort(out).names == ["a", "b", "c"]


def test_in_python_it_is_refused_too(scans, tmp_path):
    images = {"t1": ["{subject}/*_t1.nii", "{subject}/*_T1.nii"], "flair": "{subject}/*flair*"}
    labels = {"seg": "{subject}/*_seg.nii"}
    vx.convert_cohort(scans, tmp_path / "out", image_patterns=images, label_patterns=labels)
    with pytest.raises(FormatError) as caught:
        vx.convert_cohort(scans, tmp_path / "out")
    assert caught.value.code == "OTHER_PATTERNS"
    assert caught.value.path == str(tmp_path / "out")
    assert str(caught.value).count("--image-pattern t1=PATTERN") == 2


def test_other_patterns_are_told_with_what_differs(scans, tmp_path):
    out = tmp_path / "out"
    run("convert", scans, out, *T1, *SEG)
    added = run("convert", scans, out, *T1, *SEG, *FLAIR)
    assert added.exit_code == 0
    warned = f"the patterns or columns differ from those that {out} was made with. "
    new = f"Given now, but not before: --image-pattern '{FLAIR[1]}'"
    assert added.stderr == f"warning: PATTERNS_CHANGED: {warned}{new}\n"
    assert run("convert", scans, out, *FLAIR, *SEG, *T1).stderr == "", "only their order differs"
    fewer = run("plan", scans, out, *T1, *SEG).stderr
    assert "Given before, but not now: --image-pattern flair=PATTERN (PATTERN stands" in fewer
    assert "not before" not in fewer


def test_patterns_over_a_cohort_without_any_are_told(scans, tmp_path):
    out = tmp_path / "out"
    run("convert", scans, out)
    told = run("convert", scans, out, *T1, *SEG)
    assert (
        f"PATTERNS_CHANGED: {out} was made without patterns and columns. Given now" in told.stderr
    )
    assert "stay in the cohort" in told.stderr


def test_columns_of_a_table_count_as_well(scans, tmp_path):
    table, out = tmp_path / "in.csv", tmp_path / "out"
    table.write_text("image,t1,who\nin/a/a_flair.nii,in/a/a_t1.nii,a\n")
    chosen = ("--image-column", "t1", "--subject-column", "who")
    run("convert", table, out, *chosen)
    told = run("convert", table, out)
    assert told.exit_code == 1
    assert options_in(told.stderr, ". This run") == [*chosen]
    assert "PATTERN stands" not in told.stderr


def test_patterns_without_effect_bind_no_later_run(scans, tmp_path):
    one = scans / "a/a_t1.nii"
    run("convert", one, tmp_path / "out", *T1)
    done = run("convert", one, tmp_path / "out")
    assert (done.exit_code, done.stderr) == (0, "")


def test_a_plan_that_notes_no_patterns_says_nothing(scans, tmp_path):
    out = tmp_path / "out"
    run("convert", scans, out, *T1)
    plan = Plan.read(str(out / "plan.json"))
    assert [*plan.selection.values()] == ["--image-pattern t1=PATTERN"]
    Plan(plan.items, plan.origin, plan.options, plan.zipped).write(str(out / "plan.json"))
    assert run("plan", scans, out, "--dry-run").stderr == ""


def test_a_part_of_a_plan_needs_no_patterns(scans, tmp_path):
    out = tmp_path / "out"
    run("plan", scans, out, *T1, *SEG)
    assert run("convert", scans, out, "--partition", "1/1").exit_code == 0


@pytest.mark.parametrize(
    "pattern", ["a b/*.nii", "x=y.nii", "", "it's.nii", "t1=x=y", '{subject}/"*".nii']
)
def test_patterns_that_are_told_can_be_pasted(pattern, scans, tmp_path):
    out = tmp_path / "out"
    run("convert", scans, out, *T1)
    selection = InputSelection((("t1", T1[1].partition("=")[2]), ("", pattern)))
    discovered = discover_inputs([str(scans)], out, selection, ArchiveOptions())
    with pytest.warns(vx.VoxarrayWarning, match="PATTERNS_CHANGED") as warned:
        make_plan(discovered, [str(scans)], out, ArchiveOptions(), choice=selection)
    told = str(warned[0].message).split("not before: ")[1]
    again = run("plan", scans, out, *T1, *shlex.split(told)).stderr
    assert "PATTERNS_CHANGED" not in again
    assert pattern in told or "'" in pattern
