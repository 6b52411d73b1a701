"""What a run says of files: those of images of several files count one by one, on both sides."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from cohort_samples import run, save

import dicom_samples
import voxarray as vx

T1 = ("--image-pattern", "t1={subject}/*_t1.nii*", "--label-pattern", "seg={subject}/*_seg.nii")


def counted(*arguments):
    """The last line about files, and the counts that programs read."""
    told = run("convert", *arguments, "--json")
    counts = json.loads(told.stdout)["census"]
    assert counts["seen"] == counts["taken"] + sum(counts["ignored"].values())
    return counts


@pytest.fixture
def scans(tmp_path):
    for name in ("a/a_t1.nii", "a/a_seg.nii", "b/b_t1.nii"):
        save(tmp_path / "in" / name)
    return tmp_path / "in"


def test_a_dicom_folder_that_no_pattern_fits_is_ignored_with_all_its_files(scans, tmp_path):
    dicom_samples.series(scans / "b/dicom", dicom_samples.volume(depth=20))
    done = run("convert", scans, tmp_path / "out", *T1).stdout
    assert (
        "23 files seen: 3 taken as 2 images and 1 label map, 20 ignored, 0 not recognised\n"
        "  ignored: 20 that no pattern fits\n"
        "  no pattern fits: b/dicom\n"
    ) in done
    counts = counted(scans, tmp_path / "out", *T1)
    assert counts["ignored"] == {"that no pattern fits": 20}
    assert "23 files seen: 23 taken as images" in run("plan", scans, tmp_path / "all").stdout


def test_so_are_both_files_of_a_pair(scans, tmp_path):
    image = vx.ScalarImage(tensor=np.zeros((1, 3, 4, 5), np.int16))
    for name in ("b.img", "c.mhd", "d.nhdr", "E.HEAD"):
        if name == "E.HEAD":
            (scans / "b/E+orig.HEAD").touch()
            (scans / "b/E+orig.BRIK.gz").touch()
        else:
            image.save(scans / "b" / name)
    expected = len([name for name in os.listdir(scans / "b") if "_t1" not in name])
    assert expected == 8
    counts = counted(scans, tmp_path / "out", *T1)
    assert (counts["taken"], counts["ignored"]) == (3, {"that no pattern fits": 8})
    assert len(counts["fitting_no_pattern"]) == 4


def test_so_are_files_that_a_rule_of_bids_leaves_out(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/dataset_description.json").write_text("{}")
    save(tmp_path / "in/sub-1/anat/sub-1_T1w.nii")
    dicom_samples.series(tmp_path / "in/sourcedata/dicom", dicom_samples.volume(depth=7))
    counts = counted(tmp_path / "in", tmp_path / "out")
    assert (counts["seen"], counts["taken"]) == (9, 1)


def test_a_series_that_is_met_twice_counts_with_its_files(scans, tmp_path):
    dicom_samples.series(scans / "b/dicom", dicom_samples.volume(depth=5))
    counts = counted(scans, scans / "b", tmp_path / "out")
    assert (counts["seen"], counts["taken"]) == (8 + 6, 8)
    assert [*counts["ignored"].values()] == [6]
    os.symlink(scans / "b/dicom", scans / "again")
    linked = counted(scans, tmp_path / "linked")
    assert (linked["taken"], [*linked["ignored"].values()]) == (8, [5])


@pytest.mark.parametrize("several", [False, True], ids=["one series", "two series"])
def test_files_without_pixels_are_ignored_with_the_reason(tmp_path, several):
    folder = tmp_path / "in/ct"
    dicom_samples.series(folder)
    if several:
        uid = dicom_samples.generate_uid()
        dicom_samples.series(folder / "x", SeriesInstanceUID=uid, SeriesNumber=2)
        for path in (folder / "x").iterdir():
            path.rename(folder / f"other_{path.name}")
        (folder / "x").rmdir()
    for name in ("plan", "report"):
        report = dicom_samples.empty(
            dicom_samples.REPORT, SeriesInstanceUID=dicom_samples.generate_uid()
        )
        dicom_samples.save(report, folder / f"{name}.dcm")
    rule = "DICOM files without pixels, such as reports, contours and plans"
    taken = 12 if several else 6
    line = f"{taken + 2} files seen: {taken} taken as images, 2 ignored, 0 not recognised\n"
    assert f"{line}  ignored: 2 {rule}" in run("plan", tmp_path / "in", tmp_path / "out").stdout
    for _ in range(2):  # the second time, headers are not read again
        counts = counted(tmp_path / "in", tmp_path / "out")
        assert (counts["taken"], counts["ignored"]) == (taken, {rule: 2})


def test_a_folder_that_a_table_names_counts_once(tmp_path):
    dicom_samples.series(tmp_path / "ct")
    report = dicom_samples.empty(
        dicom_samples.REPORT, SeriesInstanceUID=dicom_samples.generate_uid()
    )
    dicom_samples.save(report, tmp_path / "ct/report.dcm")
    (tmp_path / "in.csv").write_text("image\nct\n")
    counts = counted(tmp_path / "in.csv", tmp_path / "out")
    assert (counts["seen"], counts["taken"]) == (1, 1)
