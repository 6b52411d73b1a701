"""What copies and results of a cohort say of their sources, and `verify` against these."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pytest
from cohort_samples import AFFINE, array, run, save

import voxarray as vx
from voxarray.cohort.plan import opened_inputs


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Three subjects of two scans; of the third one the lesion lies on a grid of its own."""
    folder = tmp_path_factory.mktemp("sources")
    for number in range(3):
        save(folder / f"in/p{number}/t1.nii.gz", number)
        save(folder / f"in/p{number}/flair.nii.gz", 10 + number, (10, 10, 8))
        shape, affine = ((12, 10, 8), AFFINE) if number < 2 else ((4, 3, 2), AFFINE * 3)
        mask = (array(20 + number, shape) > 100).astype(np.uint8)
        nib.save(nib.Nifti1Image(mask, affine), folder / f"in/p{number}/lesion.nii.gz")
    vx.convert_cohort(
        folder / "in",
        folder / "out",
        image_patterns={"t1": "{subject}/t1.nii.gz", "flair": "{subject}/flair.nii.gz"},
        label_patterns={"lesion": "{subject}/lesion.nii.gz"},
        progress=False,
    )
    return folder / "out"


def sources(cohort):
    """Of each image the subject and the image that its source is called after."""
    table = vx.Cohort(cohort).table
    return {(row.subject, row.image): row.source for row in table.itertuples()}


def place(cohort, subject, image):
    table = vx.Cohort(cohort).table
    (found,) = table[(table["subject"] == subject) & (table["image"] == image)]["archive"]
    return found


def selected(subject):
    return vx.Subject(t1=subject.t1, lesion=subject.lesion)


def renamed(subject):
    return vx.Subject(flair=subject.t1, mask=subject.lesion)


def moved(subject):
    """The lesion is on a grid of its own, and so has its own archive."""
    return vx.Subject(t1=vx.Crop((1, 0, 0))(subject.t1), lesion=subject.lesion)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("route", ["command", "save", "selected", "renamed", "again"])
def test_copies_are_compared_with_the_same_images(cohort, tmp_path, route, zipped):
    made, source = tmp_path / "copy", cohort
    if route == "command":
        run("convert", cohort, made, "--codec", "compact", *["--zip"] * zipped)
    elif route == "save":
        vx.Cohort(cohort).save(made, zip=zipped)
    elif route == "again":
        source = tmp_path / "first"
        vx.Cohort(cohort).save(source, zip=zipped)
        vx.Cohort(source).save(made)
    else:
        vx.Cohort(cohort).map({"selected": selected, "renamed": renamed}[route]).save(
            made, zip=zipped
        )
    assert vx.verify(made, source=source) == []
    told = run("verify", made, "--source", source)
    assert told.exit_code == 0, told.output


class Same:
    """A stamp of any file, which is that of all others: as if nobody noticed a change."""

    @classmethod
    def of(cls, location):  # noqa: ARG003
        return cls()

    def __eq__(self, other):
        return True

    __hash__ = None


@dataclass(frozen=True)
class Changed:
    """Another value in the first voxel of one image."""

    image: str

    def __call__(self, subject):
        changed = subject[self.image]
        voxels = changed.numpy().copy()
        voxels[0, 0, 0, 0] ^= 1
        kind = type(changed)
        other = kind(tensor=voxels, affine=changed.affine)
        return vx.Subject({**subject.get_images_dict(intensity_only=False), self.image: other})


@pytest.mark.parametrize("image", ["t1", "flair", "lesion"])
def test_another_voxel_in_the_source_is_told_of_its_image(cohort, tmp_path, image, monkeypatch):
    first = tmp_path / "first"
    shutil.copytree(cohort, first)
    vx.Cohort(first).save(tmp_path / "copy")
    other = tmp_path / "other"
    vx.Cohort(cohort).map(Changed(image)).save(other)
    shutil.rmtree(first)
    other.rename(first)
    assert {one.code for one in vx.verify(tmp_path / "copy", source=first)} == {"SOURCE_CHANGED"}
    monkeypatch.setattr(opened_inputs, "InputFingerprint", Same)
    problems = vx.verify(tmp_path / "copy", source=first)
    assert [one.code for one in problems] == ["VOXEL_MISMATCH"] * 3
    in_scans = sum("labels/lesion" in one.where for one in problems)
    assert in_scans == (2 if image == "lesion" else 0)


def test_the_catalogue_names_the_source_of_each_image(cohort, tmp_path):
    vx.Cohort(cohort).save(tmp_path / "copy")
    found = sources(tmp_path / "copy")
    assert len(found) == 7
    for (subject, image), source in found.items():
        assert source == place(cohort, subject, image)


def test_a_renamed_image_names_what_it_was_made_from(cohort, tmp_path):
    vx.Cohort(cohort).map(renamed).save(tmp_path / "copy")
    found = sources(tmp_path / "copy")
    for subject in ("p0", "p1", "p2"):
        assert found[subject, "flair"] == place(cohort, subject, "t1")
    assert found["p2", "mask"] == place(cohort, "p2", "lesion")


def test_a_label_map_that_leaves_its_scan_names_its_place_there(cohort, tmp_path):
    vx.Cohort(cohort).map(moved).save(tmp_path / "made")
    found = sources(tmp_path / "made")
    assert found["p0", "lesion"] == place(cohort, "p0", "t1") + "/labels/lesion"
    assert found["p2", "lesion"] == place(cohort, "p2", "lesion")


def test_a_prediction_names_its_scan(cohort, tmp_path):
    torch = pytest.importorskip("torch")

    def bright(patches):
        return torch.cat([100 - patches, patches - 100], dim=1)

    vx.infer(bright, vx.Cohort(cohort), tmp_path / "p", channels=["t1"], patch_size=8)
    for (subject, _), source in sources(tmp_path / "p").items():
        assert source == place(cohort, subject, "t1")


def test_what_a_pipeline_made_is_told_once_as_not_compared(cohort, tmp_path):
    vx.Cohort(cohort).map(vx.Resample(2.5)).save(tmp_path / "made")
    problems = vx.verify(tmp_path / "made", source=cohort)
    table = vx.Cohort(tmp_path / "made").table
    assert [problem.code for problem in problems] == ["NOT_COMPARED"] * len(table)
    assert "pipeline" in problems[0].message
    told = json.loads(run("verify", tmp_path / "made", "--source", cohort, "--json").stdout)
    assert [len(one["problems"]) for one in told["archives"]] == [1] * len(table)


def test_failures_of_a_transform_name_the_archive_of_each_image(cohort, tmp_path):
    def fails(subject):
        raise ValueError(subject["subject"])

    with pytest.raises(vx.VoxarrayError):
        vx.Cohort(cohort).map(fails).save(tmp_path / "made")
    table = vx.Cohort(tmp_path / "made").table
    assert len(table) == 7
    for row in table.itertuples():
        assert row.source == place(cohort, row.subject, row.image)
