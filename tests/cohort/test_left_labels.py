"""Archives as sources of a cohort: their label maps are taken if they are named, or warned of."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from cohort_samples import run

import voxarray as vx


@pytest.fixture
def scans(tmp_path):
    """Two archives with a label map each, and one without."""
    for number in range(3):
        scan = vx.ScalarImage(tensor=np.full((1, 6, 5, 4), number, np.int16))
        scan.save(tmp_path / f"in/{number}.ome.zarr")
        if number:
            mask = vx.LabelMap(tensor=np.ones(scan.shape, np.uint8), affine=scan.affine)
            vx.Archive(tmp_path / f"in/{number}.ome.zarr").add_labels("seg", mask)
    return tmp_path / "in"


@pytest.mark.parametrize("workers", [0, 2])
def test_label_maps_that_stay_behind_are_told_of_at_the_end(scans, tmp_path, workers):
    """Only the journal told of them: a cohort without its label maps looked complete."""
    done = run("convert", scans, tmp_path / "out", "--workers", workers)
    assert done.exit_code == 0
    assert done.stderr.count("LABELS_LEFT") == 1
    assert "only the image of 1.ome.zarr is written, not its label maps ['seg']" in done.stderr
    assert "and the same holds for 1 more. To convert label maps of archives, too" in done.stderr
    assert "LABELS_LEFT" not in run("convert", scans, tmp_path / "out").stderr  # all up to date


def test_python_warns_whoever_calls(scans, tmp_path):
    with pytest.warns(vx.VoxarrayWarning, match="LABELS_LEFT") as told:
        vx.convert_cohort(scans, tmp_path / "out", progress=False)
    assert [one.filename for one in told if "LABELS_LEFT" in str(one.message)] == [__file__]


def test_label_maps_that_a_table_names_are_taken(scans, tmp_path):
    rows = ["subject,t1,seg", *(f"{n},{n}.ome.zarr,{n}.ome.zarr/labels/seg" for n in (1, 2))]
    (scans / "table.csv").write_text("\n".join(rows) + "\n")
    columns = ("--subject-column", "subject", "--image-column", "t1", "--label-column", "seg")
    done = run("convert", scans / "table.csv", tmp_path / "out", *columns)
    assert done.exit_code == 0
    assert "LABELS_LEFT" not in done.stderr
    assert [list(names) for names in vx.Cohort(tmp_path / "out").table.labels] == [["seg"]] * 2


def test_what_a_transform_leaves_out_is_no_matter(scans, tmp_path):
    rows = ["subject,t1,seg", "1,1.ome.zarr,1.ome.zarr/labels/seg"]
    (scans / "table.csv").write_text("\n".join(rows) + "\n")
    columns = ("--subject-column", "subject", "--image-column", "t1", "--label-column", "seg")
    run("convert", scans / "table.csv", tmp_path / "out", *columns)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vx.Cohort(tmp_path / "out").map(only_scan).save(tmp_path / "scans", progress=False)


def only_scan(subject):
    return vx.Subject(t1=subject.t1)
