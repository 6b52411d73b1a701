"""DICOM series whose files lie in several folders: each becomes an image, and a warning says so."""

from __future__ import annotations

import re
import shutil
import warnings

import pytest
from cohort_samples import run, save
from pydicom.uid import generate_uid

import voxarray as vx
from dicom_samples import series
from voxarray.formats.dicom import header


def told(call):
    """What a call warns of divided series."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    texts = [str(one.message) for one in caught]
    return [text for text in texts if text.startswith("SERIES_DIVIDED: ")]


def divided(folder):
    """A series in two folders, beside one that is whole."""
    uid = generate_uid()
    files = series(folder / "first", SeriesInstanceUID=uid)
    (folder / "second").mkdir()
    for file in sorted(files, key=lambda file: int(file.stem.split("_")[1]))[3:]:
        shutil.move(file, folder / "second" / file.name)
    series(folder / "whole", SeriesInstanceUID=generate_uid())
    return uid


def convert(folder, destination):
    vx.convert_cohort(folder, destination, progress=False)


def test_a_series_in_two_folders_is_named(tmp_path):
    uid = divided(tmp_path / "in")
    (text,) = told(lambda: convert(tmp_path / "in", tmp_path / "out"))
    assert "1 DICOM series lies in several places, such as first and second" in text
    assert uid not in text
    assert set(vx.Cohort(tmp_path / "out").names) == {"first", "second", "whole"}
    assert uid not in (tmp_path / "out/plan.json").read_text()
    assert "_series" not in vx.Cohort(tmp_path / "out").table


def test_a_folder_that_comes_later_is_compared_with_what_was_planned(tmp_path, monkeypatch):
    divided(tmp_path / "all")
    shutil.copytree(tmp_path / "all/first", tmp_path / "in/first")
    assert told(lambda: convert(tmp_path / "in", tmp_path / "out")) == []
    shutil.copytree(tmp_path / "all/second", tmp_path / "in/second")
    opened = []
    original = header.read_header
    monkeypatch.setattr(
        "voxarray.formats.dicom.read.read_header",
        lambda path: opened.append(path) or original(path),
    )
    assert len(told(lambda: convert(tmp_path / "in", tmp_path / "out"))) == 1
    assert not [path for path in opened if re.search(r"in/first", path)]


def test_one_of_several_series_in_a_folder(tmp_path):
    uid = generate_uid()
    series(tmp_path / "in/a", SeriesInstanceUID=uid)
    for file in series(tmp_path / "more", SeriesInstanceUID=generate_uid(), SeriesNumber=2):
        shutil.move(file, tmp_path / "in/a" / f"more-{file.name}")
    assert told(lambda: convert(tmp_path / "in", tmp_path / "one")) == []
    series(tmp_path / "in/b", SeriesInstanceUID=uid, origin=(0, 0, 99))
    (text,) = told(lambda: convert(tmp_path / "in", tmp_path / "two"))
    assert "such as a and b" in text


@pytest.mark.parametrize("uids", [("1.2.3", "1.2.4"), (None, None)])
def test_other_series_and_files_without_one_are_no_parts(tmp_path, uids):
    for name, uid in zip("ab", uids, strict=True):
        series(tmp_path / "in" / name, SeriesInstanceUID=uid)
    save(tmp_path / "in/c.nii.gz", 1)
    assert told(lambda: convert(tmp_path / "in", tmp_path / "out")) == []


def test_one_folder_for_two_subjects_is_whole(tmp_path):
    series(tmp_path / "scan")
    (tmp_path / "scans.csv").write_text("subject,path\na,scan\nb,scan\n")
    assert told(lambda: convert(tmp_path / "scans.csv", tmp_path / "out")) == []
    assert set(vx.Cohort(tmp_path / "out").names) == {"a", "b"}


def test_the_command_says_it(tmp_path):
    divided(tmp_path / "in")
    done = run("plan", tmp_path / "in", tmp_path / "out")
    assert done.exit_code == 0
    assert "SERIES_DIVIDED" in done.output
