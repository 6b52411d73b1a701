"""What a plan says of files and folders is what archives become."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import voxarray as vx
from voxarray.archive.inodes import inodes_of, inodes_with_layers
from voxarray.archive.options import Options
from voxarray.archive.outline import Outline
from voxarray.cli.main import main
from voxarray.cohort.plan import plan as plans
from voxarray.cohort.plan.plan import Plan
from voxarray.source.array import ArraySource


def count(folder: Path) -> int:
    return 1 + sum(1 for _ in folder.rglob("*"))


@pytest.mark.parametrize(
    ("shape", "dtype", "chunk"),
    [
        ((1, 5, 6, 7), "i2", None),
        ((1, 40, 30, 20), "f4", 4),  # two shards along each axis, and weights
        ((3, 9, 20, 40), "u1", 2),
    ],
)
def test_files_and_folders_of_an_archive(tmp_path, shape, dtype, chunk):
    voxels = np.arange(np.prod(shape)).reshape(shape).astype(dtype) % 50
    plan = Outline.of(
        ArraySource(voxels, np.eye(4)), "intensity", Options(chunk=chunk, levels="all")
    )
    vx.convert(vx.ScalarImage(tensor=voxels), tmp_path / "a.ome.zarr", chunks=chunk, levels="all")
    assert inodes_of(plan) == count(tmp_path / "a.ome.zarr")


def test_label_maps_beside_their_image(tmp_path):
    voxels = np.arange(8 * 9 * 10).reshape(1, 8, 9, 10).astype("i2") % 5
    image, label = vx.ScalarImage(tensor=voxels), vx.LabelMap(tensor=voxels)
    vx.convert(image, tmp_path / "a.ome.zarr", labels={"one": label, "two": label})
    source = ArraySource(voxels, np.eye(4))
    parts = [inodes_of(Outline.of(source, kind, Options())) for kind in ("intensity", "label")]
    assert inodes_with_layers(parts[0], [parts[1]] * 2) == count(tmp_path / "a.ome.zarr")


def test_the_figures_of_the_page_on_clusters(tmp_path):
    page = Path(__file__).parents[2] / "notebooks/pages/how-to/cluster-and-cloud.md"
    figures = []
    for shape, levels in (((1, 64, 64, 40), 1), ((1, 256, 256, 180), 2)):
        voxels = np.zeros(shape, "i2")
        voxels[0, ::7] = 300
        image, label = vx.ScalarImage(tensor=voxels), vx.LabelMap(tensor=(voxels > 0).astype("u1"))
        counts = []
        for labels in ({}, {"seg": label}):
            made = tmp_path / f"{levels}{len(labels)}.ome.zarr"
            vx.convert(image, made, labels=labels)
            files = sum(1 for path in made.rglob("*") if path.is_file())
            counts.append((files, count(made) - files))
        assert len(list((tmp_path / f"{levels}0.ome.zarr").glob("scale*"))) == levels
        figures += [counts[0], (counts[1][0] - counts[0][0], counts[1][1] - counts[0][1])]
    assert figures == [(14, 13), (16, 17), (17, 19), (19, 23)]
    said = (
        "with one level, an image has 14 files and 13 folders, and a label map in its archive adds "
        "16 files and 17 folders. With two levels (256 x 256 x 180 voxels), an image has 17 files "
        "and 19 folders, and a label map adds 19 files and 23 folders. Larger images have more "
        "shards (files that hold many chunks)."
    )
    assert said in page.read_text("utf-8")


def test_plan_tells_and_proposes_zip_where_there_are_many(tmp_path, monkeypatch):
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("a", "b", "c"):
        vx.ScalarImage(tensor=np.zeros((1, 5, 6, 7), "i2")).save(scans / f"{name}.nii.gz")
    run = CliRunner().invoke
    made = run(main, ["plan", str(scans), str(tmp_path / "out"), "--json"])
    said = json.loads(made.stdout)
    vx.convert_cohort([scans], tmp_path / "out", progress=False)
    subjects = tmp_path / "out" / "subjects"
    assert said["inodes"] == count(subjects) - 1
    text = run(main, ["plan", str(scans), str(tmp_path / "out")]).stdout
    assert f"{said['inodes']} files and folders" in text
    assert "--zip" not in text
    monkeypatch.setattr(plans, "_MANY_INODES", said["inodes"])
    assert "--zip" in run(main, ["plan", str(scans), str(tmp_path / "out")]).stdout
    zipped = run(main, ["plan", str(scans), str(tmp_path / "zips"), "--zip", "--json"])
    vx.convert_cohort([scans], tmp_path / "zips", zip=True, progress=False)
    assert json.loads(zipped.stdout)["inodes"] == count(tmp_path / "zips" / "subjects") - 1


def test_plan_of_an_earlier_release_is_read(tmp_path):
    vx.ScalarImage(tensor=np.zeros((1, 5, 6, 7), "i2")).save(tmp_path / "a.nii.gz")
    vx.convert_cohort([tmp_path / "a.nii.gz"], tmp_path / "out", progress=False)
    plan = Plan.read(str(tmp_path / "out" / "plan.json"))
    content = plan.items[0].to_json()
    del content["header"]["inodes"]
    item = type(plan.items[0]).from_json(content)
    assert item.header.inodes == 0
    assert replace(plan, items=(item,)).summary()
