"""Scans that were planned, never converted, and are gone when the run is repeated."""

from __future__ import annotations

import warnings

import pytest
from cohort_samples import run, save

import voxarray as vx


@pytest.fixture
def scans(tmp_path):
    for number in range(4):
        save(tmp_path / f"in/{number}.nii", number)
    return tmp_path / "in"


def test_scans_that_vanish_before_they_are_converted(scans, tmp_path):
    assert run("plan", scans, tmp_path / "out").exit_code == 0
    (scans / "1.nii").unlink()
    assert run("convert", scans, tmp_path / "out", "--partition", "1/1").exit_code == 3
    (scans / "2.nii").unlink()
    result = run("convert", scans, tmp_path / "out")
    assert "SOURCES_ABSENT: 1 image that was planned before is no longer" in result.stderr
    assert "never converted: 1.nii." in result.stderr  # of 2.nii, there is an archive
    assert "SOURCES_ABSENT" not in run("convert", scans, tmp_path / "out").stderr


def test_scans_that_were_converted_or_come_back_are_no_matter(scans, tmp_path):
    (scans / "0.nii").rename(tmp_path / "0.nii")
    vx.convert_cohort(scans, tmp_path / "out")
    (scans / "3.nii").unlink()
    (tmp_path / "0.nii").rename(scans / "0.nii")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vx.convert_cohort(scans, tmp_path / "out")
