"""What the catalogue says of mapped images: kind and kept metadata, also of those that fail."""

from __future__ import annotations

import numpy as np
import pytest

import voxarray as vx


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Of ``a``, the label map is on another grid, in an archive of its own; of ``b``, on one."""
    folder = tmp_path_factory.mktemp("facts")
    for name, edge in (("a", 4), ("b", 8)):
        vx.ScalarImage(tensor=np.ones((1, 8, 8, 8), np.float32)).save(
            folder / f"in/{name}_t1.nii.gz"
        )
        vx.LabelMap(tensor=np.ones((1, edge, edge, edge), np.uint8)).save(
            folder / f"in/{name}_seg.nii.gz"
        )
    (folder / "in/participants.tsv").write_text("participant_id\tage\na\t33\nb\t44\n")
    vx.convert_cohort(
        folder / "in",
        folder / "cohort",
        image_patterns={"t1": "{subject}_t1.nii.gz"},
        label_patterns={"seg": "{subject}_seg.nii.gz"},
        keep_metadata=["age"],
        progress=False,
    )
    return vx.Cohort(folder / "cohort")


def rows(cohort):
    table = cohort.table
    names = ("subject", "image", "kind", "age", "status")
    return [*zip(*(table[name] for name in names), strict=True)]


@pytest.mark.parametrize("workers", [0, 2])
def test_images_that_fail_keep_kind_and_metadata(cohort, tmp_path, workers):
    with pytest.raises(vx.VoxarrayError, match="GRIDS_DIFFER"):
        cohort.map(vx.CropOrPad(6)).save(tmp_path / "out", workers=workers, progress=False)
    made = rows(vx.Cohort(tmp_path / "out"))
    assert made == [
        ("a", "seg", "label", "33", "failed"),
        ("a", "t1", "intensity", "33", "failed"),
        ("b", "t1", "intensity", "44", "done"),
    ]


def test_images_that_fail_in_parts_keep_kind_and_metadata(cohort, tmp_path):
    from voxarray.cohort.catalogue.finalise import finalise

    mapped = cohort.map(vx.CropOrPad(6))
    mapped.plan(tmp_path / "out")
    with pytest.raises(vx.VoxarrayError, match="SOME_FAILED"):
        mapped.save(tmp_path / "out", partition=(2, 2), progress=False)
    finalise(tmp_path / "out")
    made = rows(vx.Cohort(tmp_path / "out"))
    assert made == [
        ("a", "seg", "label", "33", "failed"),
        ("a", "t1", "intensity", "33", "failed"),
        ("b", "t1", "intensity", "44", "missing"),
    ]


def renamed(subject):
    return vx.Subject(subject=subject["subject"], scan=subject["t1"])


def test_an_image_of_another_name_keeps_the_metadata_of_what_it_was_made_of(cohort, tmp_path):
    made = cohort.map(renamed).save(tmp_path / "out", progress=False)
    assert rows(made) == [
        ("a", "scan", "intensity", "33", "done"),
        ("b", "scan", "intensity", "44", "done"),
    ]
