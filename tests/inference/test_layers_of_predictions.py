"""Predictions become label layers of the scan's own archive."""

from __future__ import annotations

import json
import pathlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import voxarray as vx
from inference.reference import blended, clear_of, network
from voxarray.cli.main import main
from voxarray.cohort.catalogue import refresh


@pytest.fixture
def archive(tmp_path):
    voxels = np.random.default_rng(0).random((1, 18, 17, 16), np.float32)
    image = vx.ScalarImage(tensor=voxels, affine=np.diag([0.75, 1, 2, 1]))
    vx.convert(image, tmp_path / "scan.ome.zarr")
    return tmp_path / "scan.ome.zarr"


def test_labels_become_a_layer_with_names_and_colours(archive):
    scan, model = vx.ScalarImage(archive), network(3)
    classes = {0: "background", 5: ("liver", (255, 0, 0)), 7: "spleen"}
    made = vx.infer(model, scan, patch_size=8, classes=classes, layer="organs")
    assert list(vx.Archive(archive).labels) == ["organs"]
    reference = blended(model, scan.numpy(), (8, 8, 8), (4, 4, 4), "hann")
    clear = clear_of(reference)
    expected = np.array([0, 5, 7])[reference.argmax(0)]
    table = {label.value: label for label in made.source.label_table}
    assert (table[5].name, table[5].colour, table[7].name) == ("liver", (255, 0, 0, 255), "spleen")
    np.testing.assert_array_equal(made.numpy()[0][clear], expected[clear])
    assert vx.verify(archive) == []
    assert any(step["operation"] == "infer" for step in made.history)


def test_preprocessing_and_a_path(archive):
    made = vx.infer(network(2), archive, patch_size=8, preprocess=vx.Resample(1.5))
    assert made.grid == vx.ScalarImage(archive).grid
    assert list(vx.Archive(archive).labels) == ["prediction"]


def test_what_cannot_be_a_layer_is_named(archive, tmp_path):
    vx.infer(network(2), archive, patch_size=8)
    with pytest.raises(vx.ArchiveExistsError) as caught:
        vx.infer(network(2), archive, patch_size=8)
    assert caught.value.code == "NAME_TAKEN"
    vx.ScalarImage(archive).save(tmp_path / "a.nii")
    for given, more, code in (
        (archive, {"overwrite": True}, "UNUSED_KEYWORD"),
        (archive, {"output": "probabilities"}, "NO_DESTINATION"),
        (tmp_path / "a.nii", {}, "NO_DESTINATION"),
        (vx.ScalarImage(archive)[:9], {"layer": "half"}, "GRID_MISMATCH"),
    ):
        with pytest.raises(vx.VoxarrayError) as caught:
            vx.infer(network(2), given, patch_size=8, **more)
        assert caught.value.code == code


def test_a_model_that_fails_leaves_no_layer(archive):
    with pytest.raises(vx.ModelError):
        vx.infer(lambda b: b * float("nan"), archive, patch_size=8, classes=2)
    assert list(vx.Archive(archive).labels) == []
    assert vx.verify(archive) == []


@pytest.fixture
def cohort(tmp_path):
    (tmp_path / "scans").mkdir()
    for number in range(3):
        voxels = np.random.default_rng(number).random((1, 14, 12, 11), np.float32)
        vx.ScalarImage(tensor=voxels + (number == 2)).save(tmp_path / f"scans/sub-{number}.nii.gz")
    vx.convert_cohort(tmp_path / "scans", tmp_path / "cohort", progress=False)
    return vx.Cohort(tmp_path / "cohort")


def stamps(cohort):
    return {p: p.stat().st_mtime_ns for p in pathlib.Path(cohort.path, "subjects").rglob("*")}


def test_labels_of_a_cohort_become_layers_and_nothing_twice(cohort):
    model = network(2)

    def fragile(batch):
        if float(batch.max()) > 1.5:
            raise RuntimeError("too bright")
        return model(batch)

    with pytest.raises(vx.VoxarrayError, match="sub-2: MODEL_FAILED") as caught:
        vx.infer(fragile, cohort, patch_size=8, classes=2, layer="organs", progress=False)
    assert caught.value.code == "SOME_FAILED"
    subjects = list(vx.Cohort(cohort.path))
    assert [sum(isinstance(i, vx.LabelMap) for i in s.values()) for s in subjects] == [1, 1, 0]
    pool = ThreadPoolExecutor(2)
    made = vx.infer(model, cohort, patch_size=8, layer="other", executor=pool, progress=False)
    for subject in made:
        (scan,) = subject.get_images()
        found = vx.Archive(scan.source.path).labels["other"].numpy()[0]
        reference = blended(model, scan.numpy(), (8, 8, 8), (4, 4, 4), "hann")
        clear = clear_of(reference)
        np.testing.assert_array_equal(found[clear], reference.argmax(0)[clear])
    before = stamps(cohort)
    vx.infer(model, made, patch_size=8, layer="other", progress=False)
    assert stamps(cohort) == before
    with pytest.raises(vx.VoxarrayError, match=r"not be made for \d of \d subjects\. .*NAME_TAKEN"):
        vx.infer(model, made, patch_size=8, overlap=0, layer="other", progress=False)
    assert stamps(cohort) == before
    fresh = vx.Cohort(cohort.path)
    assert all(vx.verify(s.get_images()[0].source.path) == [] for s in fresh)


@pytest.mark.filterwarnings("ignore:.*is a program")
def test_the_command_line_adds_layers(cohort, archive, tmp_path):
    torch.jit.script(torch.nn.Conv3d(1, 2, 1)).save(str(tmp_path / "net.pt"))
    start = ["infer", str(tmp_path / "net.pt")]
    for part in (1, 2):
        arguments = [*start, cohort.path, "--patch-size", "8", "--partition", f"{part}/2"]
        made = CliRunner().invoke(main, arguments)
        assert made.exit_code == 0, made.output
    assert all(row == ["prediction"] for row in map(list, vx.Cohort(cohort.path).table["labels"]))
    made = CliRunner().invoke(main, [*start, str(archive), "--patch-size", "8", "--layer", "a"])
    assert made.exit_code == 0, made.output
    assert list(vx.Archive(archive).labels) == ["a"]


def test_the_command_line_removes_a_layer_from_all_of_a_cohort(cohort, monkeypatch):
    scans = [subject.get_images()[0] for subject in cohort]
    for scan in scans[1:]:
        layer = vx.LabelMap(tensor=torch.ones(scan.shape).byte(), affine=scan.affine)
        for name in ("net", "seg"):
            vx.Archive(scan.source.path).add_labels(name, layer)
    written = []
    rewrite = refresh.catalogue.write
    monkeypatch.setattr(refresh.catalogue, "write", lambda *a: written.append(rewrite(*a)))
    made = CliRunner().invoke(main, ["remove-labels", cohort.path, "net", "--json"])
    assert len(written) == 1  # of a catalogue of thousands, not one for each archive
    assert made.exit_code == 0, made.output
    assert len(json.loads(made.output)["removed_from"]) == len(scans) - 1
    assert [list(row) for row in vx.Cohort(cohort.path).table["labels"]] == [
        [],
        *([["seg"]] * (len(scans) - 1)),
    ]
    assert all(vx.verify(scan.source.path) == [] for scan in scans)
    again = CliRunner().invoke(main, ["remove-labels", cohort.path, "net"])
    assert again.exit_code == 1
    assert "NO_LABELS: no archive of" in again.output


@pytest.mark.filterwarnings("ignore:.*is a program")
def test_a_subject_without_a_scan_is_not_predicted_from_its_label_map(tmp_path):
    torch.jit.script(torch.nn.Conv3d(1, 2, 1)).save(str(tmp_path / "net.pt"))
    label_map = vx.LabelMap(tensor=torch.ones(1, 9, 9, 9, dtype=torch.uint8))
    with pytest.raises(vx.StateError, match="no scan") as caught:
        vx.infer(tmp_path / "net.pt", vx.Subject(dseg=label_map), tmp_path / "a.nii", patch_size=8)
    assert caught.value.code == "MISSING_CHANNELS"
    alone = vx.infer(tmp_path / "net.pt", label_map, tmp_path / "b.nii", patch_size=8)
    assert alone.shape == label_map.shape


@pytest.mark.filterwarnings("ignore:.*is a program")
def test_the_command_line_tells_of_each_subject_that_failed(cohort, tmp_path):
    torch.jit.script(torch.nn.Conv3d(1, 2, 1)).save(str(tmp_path / "net.pt"))
    (scan,) = cohort["sub-1"].get_images()
    archive = vx.Archive(scan.source.path)
    archive.add_labels(
        "organs", vx.LabelMap(tensor=torch.ones(scan.shape).byte(), affine=scan.affine)
    )
    words = ["infer", str(tmp_path / "net.pt"), cohort.path, "--patch-size", "8"]
    made = CliRunner().invoke(main, [*words, "--layer", "organs"])
    assert made.exit_code == 3, made.output
    assert made.output.count("NAME_TAKEN") == 1
    assert "sub-1: NAME_TAKEN" in made.output
    assert f"1 of {len(cohort)} failed" in made.output
