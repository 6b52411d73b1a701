"""What sources mean: folders, globs, manifests, lists; and which labels go where."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from cohort_samples import AFFINE, array, run, save

import voxarray as vx
from voxarray.cohort.discover.search import search
from voxarray.cohort.options import InputSelection
from voxarray.cohort.run.build import build
from voxarray.core.errors import FormatError


def labels(path, seed=1, affine=AFFINE, shape=(12, 10, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image((array(seed, shape) > 100).astype(np.uint8), affine), path)


def names(found):
    return [(one.subject, one.image, one.kind) for one in found]


def test_a_folder(tmp_path):
    save(tmp_path / "x/a.nii")
    save(tmp_path / "b.nii.gz")
    (tmp_path / "notes.txt").write_text("no scan")
    found = search([str(tmp_path)], str(tmp_path / "out"))
    assert names(found) == [("b", "image", "intensity"), ("x/a", "image", "intensity")]
    assert [one.source for one in found] == ["b.nii.gz", "x/a.nii"]


def test_two_folders_and_files(tmp_path):
    save(tmp_path / "one/a.nii")
    save(tmp_path / "two/a.nii")
    found = search([str(tmp_path / "one"), str(tmp_path / "two")], "out")
    assert [one.source for one in found] == ["one/a.nii", "two/a.nii"]


def test_a_link_upwards_ends(tmp_path):
    save(tmp_path / "x/a.nii")
    (tmp_path / "x/loop").symlink_to(tmp_path)
    assert len(search([str(tmp_path)], "out")) == 1


def test_a_glob(tmp_path):
    for name in ("sub-1/t1.nii", "sub-2/t1.nii", "sub-2/t2.nii"):
        save(tmp_path / name)
    found = search([str(tmp_path / "sub-*/t1.nii")], "out")
    assert [one.subject for one in found] == ["sub-1/t1", "sub-2/t1"]


def test_a_list(tmp_path):
    save(tmp_path / "a.nii")
    (tmp_path / "list.txt").write_text(
        "# scans\na.nii\nhttps://example.org/data/sub-1/t1.nii.gz?secret=1\n"
    )
    found = search([str(tmp_path / "list.txt")], "out")
    assert [one.source for one in found] == ["a.nii", "sub-1/t1.nii.gz"]
    assert found[1].location.startswith("https://")


def test_names_that_collide_name_each_other(tmp_path):
    save(tmp_path / "in/a.nii")
    save(tmp_path / "in/a.nii.gz")
    found = search([str(tmp_path / "in")], "out")
    assert [one.collides_with for one in found] == [("a.nii.gz",), ("a.nii",)]
    result = run("convert", tmp_path / "in", tmp_path / "out")
    assert result.exit_code == 1


def test_patterns_pair_labels_with_images(tmp_path):
    for number in range(2):
        save(tmp_path / f"in/imagesTr/case{number}_0000.nii.gz", number)
        labels(tmp_path / f"in/labelsTr/case{number}.nii.gz")
    choice = InputSelection((("ct", "imagesTr/*_0000.nii.gz"),), (("organs", "labelsTr/*.nii.gz"),))
    made = build(tmp_path / "in", tmp_path / "out", choice=choice)
    assert made.converted == 2
    subject = vx.Cohort(tmp_path / "out")[0]
    assert set(subject.get_images_names()) == {"ct", "organs"}
    assert isinstance(subject["organs"], vx.LabelMap)
    assert np.array_equal(subject["organs"].numpy()[0], array(1) > 100)


def test_label_patterns_alone(tmp_path):
    save(tmp_path / "in/x/a.nii.gz")
    labels(tmp_path / "in/x/a_seg.nii.gz")
    save(tmp_path / "in/b.nii.gz")
    result = run(
        *("convert", tmp_path / "in", tmp_path / "out"), "--label-pattern", "seg=**/*_seg.nii.gz"
    )
    assert result.exit_code == 0
    cohort = vx.Cohort(tmp_path / "out")
    assert cohort.names == ["b", "x/a"]
    assert cohort["x/a"].get_images_names() == ["image", "seg"]


def test_labels_on_another_grid_stand_beside_their_image(tmp_path):
    save(tmp_path / "in/a.nii.gz")
    labels(tmp_path / "in/a_seg.nii.gz", shape=(6, 5, 4))
    choice = InputSelection(label_patterns=(("seg", "*_seg.nii.gz"),))
    made = build(tmp_path / "in", tmp_path / "out", choice=choice)
    assert made.converted == 2
    (subject,) = vx.Cohort(tmp_path / "out")
    assert subject["seg"].spatial_shape == (6, 5, 4)
    assert isinstance(subject["seg"], vx.LabelMap)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_a_manifest(tmp_path, suffix):
    import pandas as pd

    for number in range(2):
        save(tmp_path / f"scans/{number}_t1.nii", number)
        labels(tmp_path / f"scans/{number}_seg.nii")
    rows = pd.DataFrame(
        {
            "subject": ["alpha", "beta"],
            "t1": ["scans/0_t1.nii", str(tmp_path / "scans/1_t1.nii")],
            "seg": ["scans/0_seg.nii", "scans/1_seg.nii"],
            "age": [41, 52],
            "name": ["CANARY", "CANARY"],
        }
    )
    path = tmp_path / f"list{suffix}"
    if suffix == ".parquet":
        rows.to_parquet(path)
    else:
        rows.to_csv(path, sep="\t" if suffix == ".tsv" else ",", index=False)
    result = run(
        *("convert", path, tmp_path / "out", "--image-column", "t1", "--label-column", "seg"),
        *("--keep-metadata", "age"),
    )
    assert result.exit_code == 0
    cohort = vx.Cohort(tmp_path / "out")
    assert cohort.names == ["alpha", "beta"]
    assert cohort["beta"].get_images_names() == ["t1", "seg"]
    assert cohort.table.age.astype(int).tolist() == [41, 52]
    assert "name" not in cohort.table


def test_a_manifest_without_images(tmp_path):
    (tmp_path / "list.csv").write_text("who,where\n1,2\n")
    with pytest.raises(FormatError, match="--image-column") as caught:
        search([str(tmp_path / "list.csv")], "out")
    assert caught.value.code == "BAD_MANIFEST"
