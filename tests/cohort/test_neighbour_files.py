"""One bad DICOM file keeps all images of its folder from being converted, which is told."""

from __future__ import annotations

import pytest
from cohort_samples import run, save

import dicom_samples
from voxarray.cohort.run.build import build


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def test_the_others_of_the_folder_are_counted(tmp_path):
    folder = tmp_path / "in/dicom"
    first, *_ = dicom_samples.series(folder)
    uid = dicom_samples.generate_uid()
    for path in dicom_samples.series(tmp_path / "x", SeriesInstanceUID=uid, SeriesNumber=2):
        path.rename(folder / f"other_{path.name}")
    (folder / "notes.txt").write_text("x")
    cut(first)
    told = "again. The other 11 DICOM files of this folder were not converted, either\n"
    assert told in run("plan", tmp_path / "in", tmp_path / "out", "--dry-run").stdout
    done = run("convert", tmp_path / "in", tmp_path / "out")
    assert f"dicom/{first.name}: TRUNCATED: " in done.stderr
    assert told in done.stderr
    assert told in (tmp_path / "out/report.txt").read_text()


def test_of_two_files_the_other_one_is_told(tmp_path):
    first, *_ = dicom_samples.series(tmp_path / "in", dicom_samples.volume(depth=2))
    cut(first)
    (failure,) = build(tmp_path / "in", tmp_path / "out").failures
    assert failure.message.endswith(
        ". The other DICOM file of this folder was not converted, either"
    )
    for path in (tmp_path / "in").iterdir():
        if path != first:
            path.unlink()
    (failure,) = build(tmp_path / "in", tmp_path / "out").failures
    assert "other" not in failure.message


@pytest.mark.parametrize("several", [False, True])
def test_files_that_fail_when_voxels_are_read_tell_it_too(tmp_path, several, monkeypatch):
    folder = tmp_path / "in/dicom"
    paths = dicom_samples.series(folder)
    if several:
        uid = dicom_samples.generate_uid()
        for path in dicom_samples.series(tmp_path / "x", SeriesInstanceUID=uid, SeriesNumber=2):
            path.rename(folder / f"other_{path.name}")
    from voxarray.core.errors import ChecksumError
    from voxarray.formats.dicom.source import DicomSource

    def fail(source, *_):
        if source.files[0].identity.path in map(str, paths):
            raise ChecksumError("the pixels are damaged", path=str(paths[0]))
        return original(source, *_)

    original = DicomSource.read
    monkeypatch.setattr(DicomSource, "read", fail)
    made = build(tmp_path / "in", tmp_path / "out")
    (failure,) = made.failures
    assert made.converted == several
    assert failure.message == (
        "the pixels are damaged. The other DICOM files of its series were not converted, either"
        if several
        else "the pixels are damaged. The other 5 DICOM files of this folder were not converted, "
        "either"
    )


def test_other_files_have_no_neighbours(tmp_path):
    save(tmp_path / "in/a.nii")
    save(tmp_path / "in/b.nii")
    cut(tmp_path / "in/a.nii")
    dicom_samples.series(tmp_path / "in")
    (failure,) = build(tmp_path / "in", tmp_path / "out").failures
    assert "other" not in failure.message
