"""``.bidsignore`` is read as git reads ``.gitignore``."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from cohort_samples import run, save
from hypothesis import given, settings
from hypothesis import strategies as st

from voxarray.cohort.discover.bids import Ignored
from voxarray.core.errors import FormatError

PATHS = (
    "sub-01/anat/sub-01_T1w.nii.gz",
    "sub-01/anat/sub-01_T2w.nii.gz",
    "sub-01/ses-1/func/sub-01_ses-1_bold.nii.gz",
    "sub-02/anat/sub-02_T1w.nii.gz",
    "extra/sub-03/anat/sub-03_T1w.nii.gz",
    "sub-04_T1w.nii.gz",
    "sub-05/anat/#sub-05_T1w.nii.gz",
    "sub-06/anat/!sub-06_T1w.nii.gz",
)

PATTERNS = (
    *("*", "*.nii.gz", "sub-*/*.nii.gz", "sub-*/**/*.nii.gz", "**/anat", "anat/", "/sub-01"),
    *("sub-01/", "sub-01", "sub-0[12]/anat/*", "sub-0[!1]/**", "*_T2w*", "!*_T2w*", "!sub-01/"),
    *("!sub-01/anat/sub-01_T2w.nii.gz", "extra", "extra/*", "/extra/sub-03/", "# note", ""),
    *("\\#sub-05*", "\\!sub-06*", "sub-??/anat", "**/ses-1/**", "sub-01/*/sub-01_T1w.nii.gz"),
    *("anat/sub-01_T1w.nii.gz", "*bold*  ", "**", "a/**/b", "sub-01/**/", "/*", "!/sub-*"),
)


def holds(folder, lines):
    (folder / ".bidsignore").write_text("".join(f"{line}\n" for line in lines))
    ignored = Ignored.of(str(folder))
    return {path for path in PATHS if ignored.holds(path)}


def git_holds(folder, lines):
    """Which paths git ignores: the oracle."""
    (folder / ".gitignore").write_text("".join(f"{line}\n" for line in lines))
    told = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        cwd=folder,
        input="\n".join(PATHS),
        capture_output=True,
        text=True,
    )
    return {line.strip('"') for line in told.stdout.splitlines()}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    if shutil.which("git") is None:
        pytest.skip("git is the oracle, and is not installed")
    folder = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    for path in PATHS:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_pattern_holds_where_it_does_for_git(repository, pattern):
    assert holds(repository, [pattern]) == git_holds(repository, [pattern])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([p for p in PATTERNS if p != "sub-01/**/"]), max_size=4))
def test_patterns_together_hold_where_they_do_for_git(repository, lines):
    assert holds(repository, lines) == git_holds(repository, lines)


def test_bidsignore_star_stops_at_slash(tmp_path):
    assert not holds(tmp_path, ["sub-*/*.nii.gz"])


def test_plan_counts_files_left_out_by_bidsignore(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    for number, name in enumerate(("T1w", "T2w")):
        save(tmp_path / f"in/sub-01/anat/sub-01_{name}.nii.gz", number)
    (tmp_path / "in/.bidsignore").write_text("*_T2w*\n")
    told = run("plan", tmp_path / "in", tmp_path / "out", "--dry-run").output
    assert "1 by .bidsignore" in told
    assert "sub-01_T2w" not in told


def test_a_bidsignore_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / ".bidsignore").mkdir()
    with pytest.raises(FormatError) as caught:
        Ignored.of(str(tmp_path))
    assert caught.value.code == "BAD_BIDSIGNORE"


def test_a_bidsignore_of_any_bytes_is_read(tmp_path):
    (tmp_path / ".bidsignore").write_bytes(b"\xef\xbb\xbf*_T1w*\r\n\xff\xfe\n")
    assert Ignored.of(str(tmp_path)).holds("sub-01/sub-01_T1w.nii")
