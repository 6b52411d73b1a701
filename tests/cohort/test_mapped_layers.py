"""In which archive of a mapped cohort each label map is: in that of the image that it was with."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pytest
from cohort_samples import array, run, save, truth

import voxarray as vx

T1 = "image == 't1'"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Two subjects with two scans and a label map on one grid; it is in the archive of ``t1``."""
    folder = tmp_path_factory.mktemp("layers")
    for name in ("a", "b"):
        for number, image in enumerate(("flair", "t1", "z")):
            save(folder / f"in/{name}/{image}.nii.gz", number, (12, 10, 8 + number // 2))
        mask = (array(5) > 100).astype(np.uint8)
        affine = nib.load(folder / f"in/{name}/t1.nii.gz").affine
        nib.save(nib.Nifti1Image(mask, affine), folder / f"in/{name}/seg.nii.gz")
    images = ("t1", "flair", "z")
    vx.convert_cohort(
        folder / "in",
        folder / "out",
        image_patterns={image: f"{{subject}}/{image}.nii.gz" for image in images},
        label_patterns={"seg": "{subject}/seg.nii.gz"},
        progress=False,
    )
    assert labels(folder / "out") == {"t1": ["seg"], "flair": [], "z": []}
    return folder / "out"


def labels(folder, subject="a"):
    """Label maps by the images in whose archives they are."""
    table = vx.Cohort(folder).table
    table = table[table.subject == subject]
    return {image: [*names] for image, names in zip(table.image, table.labels, strict=True)}


def selected(subject):
    """Without the image that had the label map in its archive."""
    return vx.Subject(flair=subject.flair, z=subject.z, seg=subject.seg)


def renamed(subject):
    return vx.Subject(a=subject.flair, scan=subject.t1, mask=subject.seg)


def smoothed(subject):
    """Another image of the same archive comes first."""
    return vx.Subject(
        {"blurred": vx.Blur(1)(subject.t1), **subject.get_images_dict(intensity_only=False)}
    )


def shifted(subject):
    """The label map stays where it was, and its image does not."""
    return vx.Subject(flair=subject.flair, t1=vx.Crop((1, 0, 0))(subject.t1), seg=subject.seg)


def alone(subject):
    cropped = {name: vx.Crop((1, 0, 0))(subject[name]) for name in ("flair", "t1")}
    return vx.Subject({**cropped, "seg": subject.seg})


def in_memory(subject):
    """Nothing tells from which files the voxels come, but the names."""
    images = subject.get_images_dict(intensity_only=False)
    return vx.Subject(
        {n: type(i)(tensor=i.numpy().copy(), affine=i.affine) for n, i in images.items()}
    )


@dataclass(frozen=True)
class Failing:
    """A transform that fits one subject, and not the other."""

    name: str

    def __call__(self, subject):
        if subject["subject"] == self.name:
            raise ValueError("does not fit")
        return subject


@pytest.mark.parametrize("workers", [0, 2])
def test_a_copy_keeps_each_label_map_in_its_archive(cohort, tmp_path, workers):
    run("convert", cohort, tmp_path / "copy", "--workers", workers)
    for subject in "ab":
        assert labels(tmp_path / "copy", subject) == labels(cohort, subject)
    query = "image == 't1' and 'seg' in labels"
    assert len(vx.Cohort(tmp_path / "copy").query(query)) == 2
    assert bool(vx.Cohort(tmp_path / "copy")["a"]["seg"].data.any())


def test_parts_and_a_resumed_run_agree_with_a_whole_one(cohort, tmp_path):
    whole = vx.Cohort(cohort)
    mapped = whole.map(vx.Resample("t1"))
    mapped.save(tmp_path / "whole", progress=False)
    mapped.plan(tmp_path / "parts")
    for number in (2, 1):
        mapped.save(tmp_path / "parts", partition=(number, 2), progress=False)
    run("finalise", tmp_path / "parts")
    mapped.plan(tmp_path / "resumed")
    mapped.save(tmp_path / "resumed", partition=(1, 3), progress=False)
    mapped.save(tmp_path / "resumed", workers=2, progress=False)
    assert labels(tmp_path / "whole") == {"t1": ["seg"], "flair": [], "z": []}
    assert truth(tmp_path / "parts") == truth(tmp_path / "whole")
    assert truth(tmp_path / "resumed") == truth(tmp_path / "whole")


def test_a_part_of_the_images_saved_later_stores_no_label_map_twice(cohort, tmp_path):
    run("convert", cohort, tmp_path / "copy")
    done = run("convert", cohort, tmp_path / "copy", "--query", T1)
    assert done.exit_code == 0
    assert "NAME_COLLISION" not in done.stderr
    assert labels(tmp_path / "copy") == labels(cohort)
    assert vx.verify(tmp_path / "copy") == []
    assert {"t1", "flair", "seg"} <= vx.Cohort(tmp_path / "copy")["a"].keys()


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (selected, {"flair": ["seg"], "z": []}),
        (renamed, {"a": [], "scan": ["mask"]}),
        (smoothed, {"blurred": [], "flair": [], "t1": ["seg"], "z": []}),
        (shifted, {"flair": ["seg"], "t1": []}),
        (alone, {"flair": [], "t1": [], "seg": []}),
        (in_memory, {"flair": [], "t1": ["seg"], "z": []}),
    ],
)
def test_a_label_map_stays_with_its_image_if_that_is_there_and_on_its_grid(
    cohort, tmp_path, transform, expected
):
    vx.Cohort(cohort).map(transform).save(tmp_path / "made", progress=False)
    assert labels(tmp_path / "made") == expected


def test_images_that_fail_are_listed_with_the_label_maps_of_their_archives(cohort, tmp_path):
    with pytest.raises(vx.VoxarrayError, match="SOME_FAILED"):
        vx.Cohort(cohort).map(Failing("b")).save(tmp_path / "made", progress=False)
    table = vx.Cohort(tmp_path / "made").table
    assert [*table[table.subject == "b"].status] == ["failed"] * 3
    assert labels(tmp_path / "made", "b") == labels(cohort, "b")
