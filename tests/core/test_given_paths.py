"""Paths that no file can have are refused by name wherever a path is given."""

from __future__ import annotations

import os

import numpy as np
import pytest

import voxarray as vx
from voxarray.archive.cleaning import clean
from voxarray.core.given_paths import path_text, path_texts
from voxarray.rendering.figure_file import save_figure
from voxarray.rendering.matplotlib_import import figure
from voxarray.transforms.histogram_landmarks import read, write

IMPOSSIBLE = {
    "null": "a\0b.nii.gz",
    "null in folder": "a\0/b.nii.gz",
    "surrogate": "a\ud800.nii.gz",
    "URL": "file:///a%00b.nii.gz",
    "bucket": "s3://bucket/a\0b.nii.gz",
}

SCAN = vx.ScalarImage(tensor=np.arange(24, dtype="int16").reshape(1, 2, 3, 4))

READS = {
    "Image": vx.ScalarImage,
    "images": lambda path: vx.ScalarImage([path]),
    "LabelMap": vx.LabelMap,
    "unchecked": lambda path: vx.ScalarImage(path, verify_path=False),
    "open_source": vx.open_source,
    "DicomReader": lambda path: vx.DicomReader().open(path),
    "list_series": lambda path: vx.DicomReader().list_series([path]),
    "Cohort": vx.Cohort,
    "Archive": vx.Archive,
    "verify": vx.verify,
    "convert": lambda path: vx.convert(path, "out.ome.zarr"),
    "infer": lambda path: vx.infer(SCAN, path, patch_size=2),
    "from_yaml": vx.Compose.from_yaml,
    "landmarks": read,
    "clean": clean,
    "evaluate": lambda path: vx.evaluate(path, path),
}

WRITES = {
    "save": SCAN.save,
    "overwrite": lambda path: SCAN.save(path, overwrite=True),
    "convert": lambda path: vx.convert("scan.nii", path),
    "cohort": lambda path: vx.convert_cohort(["scan.nii"], path, progress=False),
    "subject": lambda path: vx.Subject(t1=SCAN).save(path),
    "gif": lambda path: SCAN.to_gif(0, 1.0, path),
    "plot": lambda path: SCAN.plot(output_path=path, show=False),
    "to_yaml": vx.Compose([vx.Flip(axes=0)]).to_yaml,
    "landmarks": lambda path: write(np.arange(13.0), path),
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    SCAN.save("scan.nii")


@pytest.mark.parametrize("given", IMPOSSIBLE)
@pytest.mark.parametrize("function", [*READS.items(), *WRITES.items()], ids=lambda one: one[0])
def test_what_no_file_can_be_called_is_refused(function, given):
    before = os.listdir()
    with pytest.raises(vx.VoxarrayError) as caught:
        function[1](IMPOSSIBLE[given])
    assert caught.value.code == "BAD_PATH"
    assert isinstance(caught.value, ValueError)  # as Python's own
    assert os.listdir() == before


@pytest.mark.parametrize("function", [*READS.items(), *WRITES.items()], ids=lambda one: one[0])
def test_an_empty_path_is_not_the_current_folder(function):
    before = os.listdir()
    with pytest.raises(vx.VoxarrayError) as caught:
        function[1]("")
    assert caught.value.code == "BAD_PATH"
    assert os.listdir() == before


@pytest.mark.parametrize(
    "given", [b"a.nii", 3, None, ["a.nii"]], ids=["bytes", "int", "None", "list"]
)
def test_the_error_for_a_bad_path_names_its_type(given):
    with pytest.raises(TypeError, match=type(given).__name__):
        path_text(given)


def test_one_path_or_several(tmp_path):
    assert path_texts("a") == ["a"]
    assert path_texts(tmp_path) == [str(tmp_path)]
    assert path_texts(["a", tmp_path]) == ["a", str(tmp_path)]
    for wrong in (b"ab", 3, None):
        with pytest.raises(TypeError, match=type(wrong).__name__):
            path_texts(wrong)


def test_names_of_other_encodings_are_names():
    name = os.fsdecode("Schädel.nii".encode("latin-1"))
    SCAN.save(name)
    assert vx.ScalarImage(name).shape == SCAN.shape


def test_a_list_without_files_is_named():
    with pytest.raises(vx.VoxarrayError) as caught:
        vx.DicomReader().open([])
    assert caught.value.code == "NOT_FOUND"


@pytest.mark.parametrize("path", ["scan.nii/a.png", f"{'a' * 300}.png", "loop/a.png"])
def test_a_figure_that_cannot_be_written_is_named(path):
    os.symlink("loop", "loop")
    before = sorted(os.listdir())
    with pytest.raises(vx.ArchiveError) as caught:
        SCAN.plot(output_path=path, show=False)
    assert caught.value.code == "IO_ERROR"
    assert sorted(os.listdir()) == before


def test_figures_get_the_suffix_that_matplotlib_gives():
    drawing = figure((1, 1))
    save_figure(drawing, "a")
    save_figure(drawing, "b", {"format": "pdf"})
    save_figure(drawing, "c.x", {"format": "svg"})
    assert sorted(os.listdir()) == ["a.png", "b.pdf", "c.x", "scan.nii"]


@pytest.mark.parametrize("place", ["scan.nii", "loop", "a" * 300])
def test_a_cohort_where_no_folder_can_be_is_named(place):
    os.symlink("loop", "loop")
    with pytest.raises(vx.VoxarrayError) as caught:
        vx.convert_cohort(["scan.nii"], place, progress=False)
    assert caught.value.code == "IO_ERROR"
    with pytest.raises(vx.VoxarrayError) as caught:
        vx.Cohort(place)
    assert caught.value.code == "NO_COHORT"


def test_urls_of_files_are_paths_everywhere(tmp_path):
    vx.convert("scan.nii", "a.ome.zarr")
    url = f"file://{tmp_path}/a.ome.zarr"
    assert vx.verify(url, source=f"file://{tmp_path}/scan.nii") == []
    assert list(vx.Archive(url).labels) == []
    assert clean(f"file://{tmp_path}") == []
    assert vx.ScalarImage(url).shape == SCAN.shape
