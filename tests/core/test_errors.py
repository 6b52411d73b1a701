"""Errors of the system become ours, with a code and the path; hints say what to do."""

from __future__ import annotations

import os

import numpy as np
import pytest

import voxarray as vx
from voxarray.core.errors import AccessDeniedError, MissingFileError, TransportError

VOXELS = np.zeros((1, 4, 4, 4), "int16")


@pytest.fixture
def path(tmp_path):
    vx.ScalarImage(tensor=VOXELS).save(tmp_path / "a.nii.gz")
    return tmp_path / "a.nii.gz"


SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".mha", ".mgz", ".ome.zarr", ".ozx"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("raised", "kind", "code"),
    [
        (PermissionError(13, "Permission denied"), AccessDeniedError, "ACCESS_DENIED"),
        (NotADirectoryError(20, "Not a directory"), MissingFileError, "NOT_FOUND"),
        (OSError(5, "Input/output error"), TransportError, "IO_ERROR"),
    ],
)
def test_an_error_of_the_system_has_a_code_and_the_path(
    tmp_path, monkeypatch, suffix, raised, kind, code
):
    path = tmp_path / f"a{suffix}"
    vx.ScalarImage(tensor=VOXELS).save(path)
    opened = os.open

    def refusing(where, *more, **named):
        if str(where).startswith(str(path)):
            raise raised
        return opened(where, *more, **named)

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(vx.VoxarrayError) as error:
        vx.ScalarImage(path).shape  # noqa: B018
    if suffix != ".ome.zarr":  # a folder of many files says more of which is not there
        assert (type(error.value), error.value.code) == (kind, code)
    assert str(path) in str(error.value)


def test_a_file_below_a_file_is_missing(path):
    with pytest.raises(MissingFileError) as error:
        vx.ScalarImage(path / "b.nii")
    assert error.value.code == "NOT_FOUND"


LOOKS = {
    "image": lambda path: vx.ScalarImage(path),
    "several files": lambda path: vx.ScalarImage([path]),
    "archive": lambda path: vx.Archive(path),
    "target": lambda path: vx.Resample(path),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_folder_that_may_not_be_entered_says_so(tmp_path, monkeypatch, look):
    stat = os.stat

    def refusing(where, *more, **named):
        if str(where).startswith(str(tmp_path)):
            raise PermissionError(13, "Permission denied")
        return stat(where, *more, **named)

    monkeypatch.setattr(os, "stat", refusing)
    with pytest.raises(AccessDeniedError, match=r"ACCESS_DENIED: .*may not be read"):
        look(tmp_path / "a.nii")


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_name_that_no_file_can_have_is_missing(tmp_path, look):
    with pytest.raises(MissingFileError, match=r"NOT_FOUND: .*name too long"):
        look(tmp_path / ("a" * 300 + ".nii"))


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(path):
    subject = vx.Subject(t1=vx.ScalarImage(tensor=VOXELS))
    with pytest.raises(vx.ArchiveError, match="IO_ERROR"):
        subject.save(path / "folder")


def test_what_is_no_target_of_resample_is_a_missing_file():
    image = vx.ScalarImage(tensor=VOXELS)
    with pytest.raises(vx.GridError, match="a spacing, a number of mm") as error:
        vx.Resample("2mmm")(image)
    assert (error.value.code, error.value.path) == ("NO_REFERENCE", "2mmm")


def test_small_lengths_keep_their_digits():
    affine = np.diag([0.000325, 0.000325, 0.001, 1])
    image = vx.ScalarImage(tensor=VOXELS, affine=affine)
    assert "0.000325" in repr(image)
    assert "0.000325" in repr(image.grid)
    assert "0.00," not in repr(image)


def test_the_table_of_a_subject_shows_its_metadata(path):
    shown = vx.Subject(t1=vx.ScalarImage(path), age=43, name="<b>")._repr_html_()
    assert "age" in shown
    assert "43" in shown
    assert "<b>" not in shown


def test_hints_name_what_to_open_instead(tmp_path, path, monkeypatch):
    (tmp_path / "in").mkdir()
    os.rename(path, tmp_path / "in/a.nii.gz")
    vx.convert_cohort(tmp_path / "in", tmp_path / "cohort")
    with pytest.raises(vx.UnsupportedError, match=r"vx\.Cohort") as error:
        vx.ScalarImage(tmp_path / "cohort").shape  # noqa: B018
    assert error.value.code == "UNKNOWN_DIRECTORY"
    vx.convert(tmp_path / "in/a.nii.gz", tmp_path / "a.ome.zarr")
    with pytest.raises(vx.FormatError, match=r"take image\.level\(0\)"):
        vx.ScalarImage(tmp_path / "a.ome.zarr/scale0").shape  # noqa: B018
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFileError, match=f"looked for in {tmp_path}"):
        vx.ScalarImage("nope.nii")


def test_a_type_of_tensors_may_be_named():
    import torch

    image = vx.ScalarImage(tensor=VOXELS)
    for dtype in ("float32", np.float32, np.dtype("float32"), torch.float32):
        assert image.to_tensor(dtype=dtype).dtype == torch.float32
    with pytest.raises(TypeError, match="dtype is a type of tensors"):
        image.to_tensor(dtype="nonsense")
