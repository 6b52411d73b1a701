"""DICOM folders and patterns: which patterns match them, and what messages say."""

from __future__ import annotations

import warnings

import pytest
from cohort_samples import save
from pydicom.uid import generate_uid

import voxarray as vx
from dicom_samples import series


def scans(folder):
    """Two subjects: the DICOM files of one are in its folder, those of the other one below it."""
    series(folder / "sub-1", SeriesInstanceUID=generate_uid())
    series(folder / "sub-2/dicom", SeriesInstanceUID=generate_uid())
    return folder


def planned(folder, tmp_path, image=(), label=()):
    """What a conversion with patterns raises or warns of."""
    tmp_path.mkdir(exist_ok=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            vx.convert_cohort(
                folder, tmp_path / "out", image_patterns=image, label_patterns=label, progress=False
            )
        except vx.MissingFileError as error:
            return str(error)
    return "\n".join(str(one.message) for one in caught)


HINT = "is a DICOM folder, whose files together are one image: a pattern must match"


@pytest.mark.parametrize(
    ("pattern", "folder", "better"),
    [
        ("{subject}/*.dcm", "sub-1", "{subject}"),
        ("{subject}/dicom/*", "sub-2/dicom", "{subject}/dicom"),
        ("**/*.dcm", "sub-1", "**/*"),
        ("sub-2/**/*.dcm", "sub-2/dicom", "sub-2/**/*"),
    ],
)
def test_a_pattern_of_files_in_dicom_folders_is_answered_with_one_that_fits(
    tmp_path, pattern, folder, better
):
    told = planned(scans(tmp_path / "in"), tmp_path, {"t1": pattern})
    assert "NOTHING_FOUND" in told
    assert f"{folder} {HINT} the path of the folder, such as t1={better}" in told
    assert planned(tmp_path / "in", tmp_path, {"t1": better}) == ""
    assert vx.Cohort(tmp_path / "out")[0].get_images_names() == ["t1"]


def test_warnings_of_one_pattern_say_so_too(tmp_path):
    save(scans(tmp_path / "in") / "sub-1_t2.nii")
    patterns = {"t1": "{subject}/dicom/*", "t2": "{subject}_t2.nii"}
    told = planned(tmp_path / "in", tmp_path, patterns)
    assert "PATTERN_UNUSED" in told
    assert f"sub-2/dicom {HINT} the path of the folder, such as t1={{subject}}/dicom" in told
    told = planned(tmp_path / "in", tmp_path / "labels", label={"seg": "{subject}/dicom/*"})
    assert f"sub-2/dicom {HINT} the path of the folder, such as seg={{subject}}/dicom" in told


def test_of_several_sources_each_is_looked_at(tmp_path):
    save(tmp_path / "a/x.nii")
    scans(tmp_path / "b")
    told = planned([tmp_path / "a", tmp_path / "b"], tmp_path, {"t1": "{subject}/dicom/*"})
    assert f"b/sub-2/dicom {HINT}" in told


def test_dicom_files_at_the_top_are_told(tmp_path):
    series(tmp_path / "in", SeriesInstanceUID=generate_uid())
    told = planned(tmp_path / "in", tmp_path, {"t1": "*.dcm"})
    assert "the source itself is a DICOM folder, whose files together are one image" in told


@pytest.mark.parametrize("pattern", ["{subject}/*_t1.nii", "*_t1.nii", "sub-3/*.dcm"])
def test_other_patterns_get_no_such_hint(tmp_path, pattern):
    save(tmp_path / "in/sub-1/a_t2.nii")
    series(tmp_path / "in/x/y", SeriesInstanceUID=generate_uid())
    assert "DICOM folder" not in planned(tmp_path / "in", tmp_path, {"t1": pattern})


# --- Several series in a folder -------------------------------------------------------------------


def two_series(folder):
    """A folder of the series 4 and 801."""
    for number in (4, 801):
        uid = generate_uid()
        for path in series(folder / str(number), SeriesInstanceUID=uid, SeriesNumber=number):
            path.rename(folder / f"{number}_{path.name}")
        (folder / str(number)).rmdir()


@pytest.mark.parametrize("role", ["image", "label"])
def test_series_that_cannot_have_the_name_of_the_pattern_are_told(tmp_path, role):
    two_series(tmp_path / "in/sub-1/dicom")
    patterns = {role: {"mine": "{subject}/dicom"}}
    for _ in range(2):  # also if nothing has changed
        (told,) = planned(tmp_path / "in", tmp_path, **patterns).splitlines()
        assert told.startswith("SERIES_RENAMED: 1 DICOM folder holds several series.")
        assert "sub-1/dicom gives 'series-4', 'series-801', and no 'mine'." in told
    assert vx.Cohort(tmp_path / "out")[0].get_images_names() == ["series-4", "series-801"]


def test_without_a_name_that_is_lost_nothing_is_told(tmp_path):
    two_series(tmp_path / "in/sub-1")
    series(tmp_path / "in/sub-2", SeriesInstanceUID=generate_uid())
    assert planned(tmp_path / "in", tmp_path) == ""
    assert planned(tmp_path / "in", tmp_path / "b", {"t1": "sub-2"}) == ""
