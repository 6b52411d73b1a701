"""Where files of a cohort go: into no archive or cohort, not two into one, none of another type."""

from __future__ import annotations

import os
import unicodedata

import nibabel as nib
import numpy as np
import pytest
from cohort_samples import AFFINE, archives, array, run, save, tree

import voxarray as vx
from voxarray.cohort import exported_names


@pytest.fixture
def cohorts(tmp_path):
    """Two cohorts of subjects ``a`` and ``b``."""
    for name in ("one", "other"):
        for seed, subject in enumerate("ab"):
            save(tmp_path / f"{name}-in/{subject}.nii", seed)
        vx.convert_cohort(tmp_path / f"{name}-in", tmp_path / name, progress=False)
    return tmp_path / "one", tmp_path / "other"


def test_files_go_into_no_other_cohort_and_no_archive(cohorts, tmp_path):
    one, other = cohorts
    archive = archives(other)[0]
    vx.testing.sample().save(tmp_path / "lone.ome.zarr")
    before = tree(other), tree(tmp_path / "lone.ome.zarr")
    (tmp_path / "link").symlink_to(archive)
    for place in (
        *(other, other / "new", other / "subjects/new", other / "journal"),
        *(archive, archive / "scale0/new", tmp_path / "lone.ome.zarr/new", tmp_path / "link"),
    ):
        with pytest.raises(vx.FormatError, match="would not belong to it") as caught:
            vx.Cohort(one).save(place, suffix=".nii", progress=False)
        assert caught.value.code == "OTHER_FORM"
    assert (tree(other), tree(tmp_path / "lone.ome.zarr")) == before


def test_links_in_the_destination_lead_into_no_cohort(cohorts, tmp_path):
    one, other = cohorts
    before = tree(other)
    (tmp_path / "n/b").mkdir(parents=True)
    (tmp_path / "n/a").symlink_to(other)
    (tmp_path / "n/b/image.nii").symlink_to(other / "catalogue.parquet")
    with pytest.raises(vx.VoxarrayError, match="2 images failed"):
        vx.Cohort(one).save(tmp_path / "n", suffix=".nii", overwrite=True, progress=False)
    assert tree(other) == before
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "m").mkdir()
    (tmp_path / "m/a").symlink_to(tmp_path / "elsewhere")
    vx.Cohort(one).save(tmp_path / "m", suffix=".nii", progress=False)
    assert set(tree(tmp_path / "elsewhere")) == {"image.nii"}


def test_no_cohort_is_made_in_an_archive_or_among_what_a_cohort_wrote(cohorts, tmp_path):
    one, other = cohorts
    before = tree(other)
    for place in (other / "subjects", other / "journal/new", archives(other)[0] / "new"):
        with pytest.raises(vx.FormatError) as caught:
            vx.convert_cohort(tmp_path / "one-in", place, progress=False)
        assert caught.value.code == "OTHER_FORM"
        with pytest.raises(vx.FormatError) as caught:
            vx.Cohort(one).map(vx.Flip(0)).save(place, progress=False)
        assert caught.value.code == "OTHER_FORM"
    assert tree(other) == before
    vx.Cohort(one).map(vx.Flip(0)).save(other / "flipped", progress=False)
    assert vx.verify(other) == []


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.nii.gz", "a.ozx", "bucket/a.zarr"])
def test_no_folder_of_many_images_is_named_like_one(cohorts, tmp_path, name):
    """`verify` would call a cohort in ``a.ome.zarr`` a damaged archive."""
    one, _ = cohorts
    for write in (
        lambda: vx.convert_cohort(tmp_path / "one-in", tmp_path / name, progress=False),
        lambda: vx.Cohort(one).save(tmp_path / name, progress=False),
        lambda: vx.Cohort(one).save(tmp_path / name, suffix=".nii", progress=False),
        lambda: vx.Cohort(one).map(vx.Flip(0)).plan(tmp_path / name, progress=False),
    ):
        with pytest.raises(vx.FormatError, match=r"is the name of one .* image") as caught:
            write()
        assert caught.value.code == "OTHER_FORM"
    assert not (tmp_path / name).exists()


def test_colours_that_a_file_does_not_hold_are_named_without_a_name(cohorts, tmp_path):
    one, _ = cohorts
    mask = vx.LabelMap(tensor=np.ones((1, 12, 10, 8), np.uint8), affine=AFFINE)
    vx.Archive(archives(one)[0]).add_labels("seg", mask, colours={1: (255, 0, 0)})
    with pytest.warns(vx.VoxarrayWarning, match="such as the colour of label 1:"):
        vx.Cohort(one).save(tmp_path / "n", suffix=".nii", progress=False)


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha", ".mgh", ".tif", ".h5"])
def test_a_file_of_another_type_is_not_up_to_date(tmp_path, suffix):
    for name in ("uint8", "float32"):
        (tmp_path / f"{name}-in").mkdir()
        image = nib.Nifti1Image((array(0) % 2).astype(name), AFFINE)
        nib.save(image, tmp_path / f"{name}-in/a.nii")
        vx.convert_cohort(tmp_path / f"{name}-in", tmp_path / name, progress=False)
    quiet = pytest.warns(vx.VoxarrayWarning) if suffix == ".tif" else pytest.MonkeyPatch.context()
    with quiet:
        vx.Cohort(tmp_path / "uint8").save(tmp_path / "n", suffix=suffix, progress=False)
    again = vx.Cohort(tmp_path / "uint8").save(tmp_path / "n", suffix=suffix, progress=False)
    assert (again.converted, again.present) == (0, 1)
    with pytest.raises(vx.VoxarrayError, match="holds uint8 voxels instead of float32"):
        vx.Cohort(tmp_path / "float32").save(tmp_path / "n", suffix=suffix, progress=False)


@pytest.mark.parametrize(
    ("suffix", "dtype", "shape"),
    [
        *((".mnc", dtype, (12, 10, 8)) for dtype in ("uint8", "int16", "int32", "float32")),
        *((".png", dtype, (12, 10, 1)) for dtype in ("uint8", "uint16", "int16", "float32")),
    ],
)
@pytest.mark.filterwarnings("ignore::voxarray.VoxarrayWarning")
def test_a_format_that_holds_another_type_is_up_to_date(tmp_path, suffix, dtype, shape):
    (tmp_path / "in").mkdir()
    image = nib.Nifti1Image(array(0, shape).astype(dtype), np.diag([-1, -1, 1, 1]))
    nib.save(image, tmp_path / "in/a.nii")
    vx.convert_cohort(tmp_path / "in", tmp_path / "out", progress=False)
    opened = vx.Cohort(tmp_path / "out")
    opened.save(tmp_path / "n", suffix=suffix, progress=False)
    assert opened.save(tmp_path / "n", suffix=suffix, progress=False).present == 1


def test_a_file_without_the_one_that_belongs_to_it_is_named(cohorts, tmp_path):
    """As a run leaves it that is killed between the two."""
    one, _ = cohorts
    vx.Cohort(one).save(tmp_path / "n", suffix=".mhd", progress=False)
    (tmp_path / "n/a/image.mhd").unlink()
    with pytest.raises(vx.VoxarrayError, match="1 image failed; all others") as caught:
        vx.Cohort(one).save(tmp_path / "n", suffix=".mhd", progress=False)
    raw = tmp_path / "n/a/image.raw"
    belongs = f"{tmp_path / 'n/a/image.mhd'}, which belongs to it, is missing"
    assert f"{raw} exists already, and {belongs}" in str(caught.value)
    vx.Cohort(one).save(tmp_path / "n", suffix=".mhd", overwrite=True, progress=False)


NAMES = [("Pat", "pat"), ("x/Pat", "x/pat"), ("caf\u00e9", "cafe\u0301")]


@pytest.mark.parametrize("names", NAMES)
def test_names_that_the_file_system_does_not_tell_apart_lose_no_image(tmp_path, monkeypatch, names):
    (tmp_path / "in").mkdir()
    lines = ["subject,image"]
    for seed, name in enumerate((*names, "z")):
        save(tmp_path / f"in/{seed}.nii", seed)
        lines.append(f"{name},{seed}.nii")
    (tmp_path / "in/list.csv").write_text("\n".join(lines), "utf-8")
    vx.convert_cohort(tmp_path / "in/list.csv", tmp_path / "out", progress=False)
    opened = vx.Cohort(tmp_path / "out")
    done = opened.save(tmp_path / "here", suffix=".nii", progress=False)
    assert done.converted == 3  # this one does
    for number in (1, 2, 3):  # also where another part writes the other
        there = exported_names.os.path.lexists
        monkeypatch.setattr(exported_names.os.path, "lexists", lambda p, t=there: folds(p, t))
        done = run(
            *("convert", tmp_path / "out", tmp_path / "n", "--suffix", ".nii"),
            *("--partition", f"{number}/3", "--overwrite"),
        )
        monkeypatch.undo()
        assert ("NAME_COLLISION" in done.stderr) == bool(done.exit_code)
    assert set(tree(tmp_path / "n")) == {"z/image.nii"}
    assert [one for one in os.listdir(tmp_path) if one.startswith(".")] == []


def folds(path, there):
    """Whether a path is there, for a file system that knows neither case nor Unicode's forms."""
    if ".voxarray-names-" not in str(path):
        return there(path)
    folder, name = os.path.split(path)
    plain = [unicodedata.normalize("NFC", one).lower() for one in (name, *os.listdir(folder))]
    return plain[0] in plain[1:]
