"""A model over a cohort: in this process, in workers, in parts, and from the command line."""

from __future__ import annotations

import json
import logging
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import voxarray as vx
from inference.reference import blended, clear_of
from voxarray.cli.main import main
from voxarray.core.safe_yaml import loads


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv3d(1, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x - x.mean())


@pytest.fixture
def net():
    return Net().eval()


@pytest.fixture
def model(net, tmp_path):
    torch.jit.script(net).save(str(tmp_path / "net.pt"))
    return tmp_path / "net.pt"


@pytest.fixture
def cohort(tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(3):
        voxels = np.random.default_rng(number).random((1, 14, 12, 11 + number), np.float32)
        image = vx.ScalarImage(tensor=voxels, affine=np.diag([0.75, 1, 2, 1]))
        image.save(scans / f"sub-{number}.nii.gz")
    vx.convert_cohort(scans, tmp_path / "cohort", progress=False)
    return vx.Cohort(tmp_path / "cohort")


def check(predictions, cohort, net):
    assert predictions.names == cohort.names
    for subject, made in zip(cohort, predictions, strict=True):
        scan = subject.get_first_image()
        reference = blended(net, scan.numpy(), (8, 8, 8), (4, 4, 4), "hann")
        found = made["prediction"]
        assert isinstance(found, vx.LabelMap)
        assert found.grid == scan.grid
        clear = clear_of(reference)
        np.testing.assert_array_equal(found.numpy()[0][clear], reference.argmax(0)[clear])


@pytest.mark.filterwarnings("ignore:.*is a program")
def test_every_subject_is_predicted_and_nothing_twice(cohort, net, model, tmp_path):
    made = vx.infer(
        model, cohort, tmp_path / "labels", patch_size=8, classes=["no", "yes"], progress=False
    )
    check(made, cohort, net)
    assert [label.name for label in made[0]["prediction"].source.label_table] == ["no", "yes"]
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "labels" / "subjects").iterdir()}
    again = vx.infer(
        model, cohort, tmp_path / "labels", patch_size=8, classes=["no", "yes"], progress=False
    )
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "labels" / "subjects").iterdir()} == before
    assert again.names == made.names


def bright_within_any(subject):
    """Mentions no label map by name, and looks at each."""
    scan = subject.get_first_image()
    voxels = scan.numpy()
    for image in subject.values():
        if isinstance(image, vx.LabelMap):
            voxels = voxels * (image.numpy() > 0) * 2
    return vx.Subject({"image": vx.ScalarImage(tensor=voxels, affine=scan.affine)})


def test_predictions_follow_label_maps_that_preprocessing_names_nowhere(cohort, tmp_path):
    """Which of them it looks at is not known, so that each counts."""

    def bright(patches):
        return torch.cat([1 - patches, patches - 1], dim=1)

    def predict():
        options = {"patch_size": 8, "preprocess": bright_within_any, "progress": False}
        vx.infer(bright, vx.Cohort(cohort.path), tmp_path / "labels", **options)
        return {p: p.stat().st_mtime_ns for p in (tmp_path / "labels" / "subjects").iterdir()}

    scan = vx.ScalarImage(cohort[0].get_first_image().path)
    masks = [(scan.numpy() > limit).astype("u1") for limit in (0.2, 0.7)]
    wide, tight = (vx.LabelMap(tensor=mask, affine=scan.affine) for mask in masks)
    before = predict()
    for change in ("added", "corrected", "removed"):
        if change != "added":
            vx.Archive(scan.path).remove_labels("lesion")
        if change != "removed":
            vx.Archive(scan.path).add_labels("lesion", wide if change == "added" else tight)
        made = predict()
        assert sum(made[path] != time for path, time in before.items()) == 1, change
        assert predict() == made
        before = made


def bright_inside(subject):
    return vx.ZNormalization(masking_method="brain")(subject)


@pytest.mark.parametrize(
    "preprocess", [vx.ZNormalization(masking_method="brain"), bright_inside], ids=["ours", "own"]
)
def test_predictions_follow_a_corrected_mask_and_no_other_label_map(cohort, tmp_path, preprocess):
    """What was predicted within the mask of before counted as up to date."""

    def bright(patches):
        return torch.cat([1 - patches, patches - 1], dim=1)

    def predict():
        vx.infer(
            bright,
            vx.Cohort(cohort.path),
            tmp_path / "labels",
            patch_size=8,
            preprocess=preprocess,
            progress=False,
        )
        return {p: p.stat().st_mtime_ns for p in (tmp_path / "labels" / "subjects").iterdir()}

    scans = [vx.ScalarImage(subject.get_first_image().path) for subject in cohort]
    for scan in scans:
        mask = vx.LabelMap(tensor=(scan.numpy() > 0.2).astype("u1"), affine=scan.affine)
        vx.Archive(scan.path).add_labels("brain", mask)
    before = predict()
    first = scans[0]
    tighter = vx.LabelMap(tensor=(first.numpy() > 0.7).astype("u1"), affine=first.affine)
    vx.Archive(first.path).add_labels("lesion", tighter)  # nobody asks for this one
    assert predict() == before
    vx.Archive(first.path).remove_labels("brain")
    vx.Archive(first.path).add_labels("brain", tighter)
    assert sum(predict()[path] != time for path, time in before.items()) == 1
    subject = vx.Cohort(cohort.path)[0]
    expected = vx.infer(
        bright, subject, tmp_path / "one.nii", patch_size=8, preprocess=preprocess, progress=False
    )
    found = vx.Cohort(tmp_path / "labels")[0]["prediction"]
    np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_a_module_and_probabilities(cohort, net, tmp_path):
    for dtype in ("float16", "uint8"):
        made = vx.infer(
            net,
            cohort,
            tmp_path / dtype,
            patch_size=8,
            output="probabilities",
            dtype=dtype,
            progress=False,
        )
        for subject, one in zip(cohort, made, strict=True):
            scan = subject.get_first_image()
            logits = blended(net, scan.numpy(), (8, 8, 8), (4, 4, 4), "hann")
            powers = np.exp(logits - logits.max(0))
            found = one["prediction"].numpy()
            np.testing.assert_allclose(found, powers / powers.sum(0), atol=3e-3)


@pytest.mark.filterwarnings("ignore:.*is a program")
def test_partitions_predict_the_whole_cohort(cohort, net, model, tmp_path):
    for part in (1, 2):
        vx.infer(model, cohort, tmp_path / "labels", patch_size=8, partition=(part, 2))
    made = CliRunner().invoke(main, ["finalise", str(tmp_path / "labels")])
    assert made.exit_code == 0, made.output
    check(vx.Cohort(tmp_path / "labels"), cohort, net)


def test_the_command_line_predicts_in_workers_and_resumes(cohort, net, model, tmp_path):
    arguments = ["infer", str(model), cohort.path, str(tmp_path / "labels")]
    more = ["--patch-size", "8", "--workers", "2"]
    made = CliRunner().invoke(main, [*arguments, *more])
    assert made.exit_code == 0, made.output
    assert "3 converted" in made.output
    check(vx.Cohort(tmp_path / "labels"), cohort, net)
    again = CliRunner().invoke(main, [*arguments, "--patch-size", "8"])
    assert "3 up to date" in again.output
    other = CliRunner().invoke(main, [*arguments, "--patch-size", "8", "--overlap", "0.25"])
    assert "3 converted" in other.output


@pytest.mark.parametrize("how", ["here", pytest.param("workers", marks=pytest.mark.slow), "parts"])
def test_a_query_chooses_what_the_command_line_predicts(cohort, net, model, tmp_path, how):
    words = ["infer", str(model), cohort.path, str(tmp_path / "labels"), "--patch-size", "8"]
    words += ["--query", "depth > 11"]
    runs = {
        "here": [words],
        "workers": [[*words, "--workers", "1"]],  # another process, as two are
        "parts": [
            *([*words, "--partition", part] for part in ("1/2", "2/2")),
            ["finalise", str(tmp_path / "labels")],
        ],
    }
    for run in runs[how]:
        made = CliRunner().invoke(main, run)
        assert made.exit_code == 0, made.output
    check(vx.Cohort(tmp_path / "labels"), cohort[["sub-1", "sub-2"]], net)


def test_queries_that_choose_nothing_or_have_no_effect_are_refused(cohort, model, tmp_path):
    scan = str(next((tmp_path / "scans").iterdir()))
    vx.convert(scan, tmp_path / "scan.ome.zarr")
    start = ["infer", str(model)]
    for target in ([cohort.path], [cohort.path, str(tmp_path / "labels")]):
        done = CliRunner().invoke(
            main, [*start, *target, "--patch-size", "8", "--query", "depth > 99"]
        )
        assert done.exit_code == 1
        assert "NOTHING_FOUND" in done.stderr
        done = CliRunner().invoke(
            main, [*start, *target, "--patch-size", "8", "--query", "nix == 1"]
        )
        assert done.exit_code == 2
    for target in ([str(tmp_path / "scan.ome.zarr")], [scan, str(tmp_path / "labels.nii.gz")]):
        done = CliRunner().invoke(
            main, [*start, *target, "--patch-size", "8", "--query", "depth > 1"]
        )
        assert done.exit_code == 2
        assert "--query would have no effect" in done.stderr
    assert not (tmp_path / "labels").exists()


def test_parts_of_layers_that_a_query_asks_for_are_the_same_subjects(cohort, model):
    """Those that another part has added since leave no subject out."""
    words = ["infer", str(model), cohort.path, "--patch-size", "8"]
    words += ["--query", "'prediction' not in labels"]
    for part in ("1/2", "2/2"):
        made = CliRunner().invoke(main, [*words, "--partition", part])
        assert made.exit_code == 0, made.output
    assert all(list(row) == ["prediction"] for row in vx.Cohort(cohort.path).table["labels"])
    again = CliRunner().invoke(main, words)
    assert "NOTHING_FOUND" in again.stderr


def test_a_scheduler_predicts(cohort, net, model, tmp_path):
    distributed = pytest.importorskip("distributed")
    arguments = ["infer", str(model), cohort.path, str(tmp_path / "labels"), "--patch-size", "8"]
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        made = CliRunner().invoke(main, [*arguments, "--scheduler", cluster.scheduler_address])
    assert made.exit_code == 0, made.output
    assert "3 converted" in made.output
    check(vx.Cohort(tmp_path / "labels"), cohort, net)


def test_the_command_line_predicts_one_scan(cohort, net, model, tmp_path):
    scan = next((tmp_path / "scans").iterdir())
    arguments = ["infer", str(model), str(scan), str(tmp_path / "labels.nii.gz")]
    made = CliRunner().invoke(main, [*arguments, "--patch-size", "8,8,8"])
    assert made.exit_code == 0, made.output
    assert set(vx.LabelMap(tmp_path / "labels.nii.gz").count_labels()) == {0, 1}
    again = CliRunner().invoke(main, [*arguments, "--patch-size", "8"])
    assert again.exit_code == 1
    assert "EXISTS" in again.output
    for wrong in (["--patch-size", "8,8"], ["--patch-size", "8", "--workers", "2"]):
        assert CliRunner().invoke(main, [*arguments, *wrong]).exit_code == 2
    words = [*arguments[:-1], str(tmp_path / "chances.ome.zarr"), "--output", "probabilities"]
    words += ["--patch-size", "8", "--accumulate", "float16", "--dtype", "uint8"]
    for more, status in ((["--dtype", "int8"], 2), ([], 0)):
        told = CliRunner().invoke(main, [*words, *more])
        assert told.exit_code == status, told.output
    chances = vx.ScalarImage(tmp_path / "chances.ome.zarr")
    (step,) = (step for step in chances.history if step["operation"] == "infer")
    assert (step["arguments"]["accumulate"], step["arguments"]["dtype"]) == ("float16", "uint8")


@pytest.mark.parametrize("name", ["labels", "labels.nii.gx"])
def test_the_prediction_of_one_scan_is_no_folder(model, tmp_path, name):
    scan = vx.testing.sample((12, 10, 8))
    scan.save(tmp_path / "t1.nii.gz")
    words = ["infer", model, tmp_path / "t1.nii.gz", tmp_path / name, "--patch-size", 8]
    told = CliRunner().invoke(main, list(map(str, words)))
    assert told.exit_code == 1
    assert "UNKNOWN_SUFFIX" in told.stderr
    assert ".nii.gz" in told.stderr
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("kind", ["file", "layer"])
def test_the_command_line_tells_what_a_scan_will_need(cohort, net, model, tmp_path, kind):
    scan = next((tmp_path / "scans").iterdir())
    words = ["infer", str(model), str(scan), str(tmp_path / "labels.nii.gz")]
    if kind == "layer":
        vx.convert(scan, tmp_path / "scan.ome.zarr")
        words = ["infer", str(model), str(tmp_path / "scan.ome.zarr")]
    words += ["--patch-size", "8"]
    told = CliRunner().invoke(main, words).stdout.splitlines()
    assert len(told) == 2
    assert re.search(r"patches of \(8, 8, 8\), 2 classes: .* of memory .*, no scratch$", told[0])
    if kind == "layer":
        vx.Archive(tmp_path / "scan.ome.zarr").remove_labels("prediction")
    else:
        (tmp_path / "labels.nii.gz").unlink()
    document = json.loads(CliRunner().invoke(main, [*words, "--json"]).stdout)
    assert document["memory_bytes"] > 8**3 * 4 * 2
    assert document["scratch_bytes"] == 0
    assert not logging.getLogger("voxarray.inference").handlers


def test_failures_are_named_and_the_rest_goes_on(cohort, net, tmp_path):
    def fragile(batch):
        if batch.shape[0] and float(batch.max()) > 2:
            raise RuntimeError("too bright")
        return net(batch)

    bright = vx.ScalarImage(tensor=np.full((1, 9, 9, 9), 5, "f4"))
    bright.save(tmp_path / "scans" / "sub-9.nii.gz")
    vx.convert_cohort(tmp_path / "scans", cohort.path, progress=False)
    with pytest.raises(vx.VoxarrayError) as caught:
        vx.infer(fragile, vx.Cohort(cohort.path), tmp_path / "labels", patch_size=8, progress=False)
    assert caught.value.code == "SOME_FAILED"
    table = vx.Cohort(tmp_path / "labels").table.set_index("subject")
    assert list(table["status"]) == ["done", "done", "done", "failed"]
    last = vx.Cohort(tmp_path / "labels").log("sub-9")[-1]
    assert last["failure"]["code"] == "MODEL_FAILED"


def test_an_empty_cohort_makes_an_empty_one(cohort, net, tmp_path):
    empty = cohort.query("width > 1000")
    made = vx.infer(net, empty, tmp_path / "labels", patch_size=8, progress=False)
    assert len(made) == 0


def test_evaluation_of_a_cohort_is_a_table(cohort, net, tmp_path):
    made = vx.infer(net, cohort, tmp_path / "labels", patch_size=8, progress=False)
    other = vx.infer(net, cohort, tmp_path / "other", patch_size=8, overlap=0, progress=False)
    table = vx.evaluate(other, made)
    assert list(table["subject"]) == cohort.names
    assert ((table["dice"] > 0.5) & (table["dice"] <= 1)).all()
    assert (vx.evaluate(made, made)["hausdorff_mm"] == 0).all()
    with pytest.raises(vx.StateError) as caught:
        vx.evaluate(made[:2], other)
    assert caught.value.code == "SUBJECTS_DIFFER"


def test_layers_of_one_cohort_are_evaluated_by_their_names(cohort, net):
    vx.infer(net, cohort, layer="found", patch_size=8, progress=False)
    vx.infer(net, cohort, layer="truth", patch_size=8, overlap=0, progress=False)
    both = vx.Cohort(cohort.path)
    told = r"label maps \['found', 'truth'.*choose one by layer= \(--layer\)"
    with pytest.raises(vx.StateError, match=told):
        vx.evaluate(both, both)
    told = r"expected 'nobody'; choose one by reference_layer= \(--reference-layer\)"
    with pytest.raises(vx.StateError, match=told):
        vx.evaluate(both, both, layer="found", reference_layer="nobody")
    table = vx.evaluate(both, both, layer="found", reference_layer="truth")
    first = both[0]
    for row in table[table["subject"] == both.names[0]].itertuples():
        found, truth = first.found.numpy() == row.label, first.truth.numpy() == row.label
        dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
        assert row.dice == pytest.approx(dice)
    assert set(table["subject"]) == set(both.names)
    assert (vx.evaluate(both, both, layer="found", reference_layer="found")["dice"] == 1).all()
    with pytest.raises(ValueError, match="two cohorts"):
        vx.evaluate(first.found, first.truth, layer="found")


def test_workers_without_a_cohort_are_refused(net, tmp_path):
    image = vx.ScalarImage(tensor=np.zeros((1, 8, 8, 8), "f4"))
    with pytest.raises(vx.UnsupportedError) as caught:
        vx.infer(net, image, tmp_path / "a.nii", patch_size=8, workers=2)
    assert caught.value.code == "UNUSED_KEYWORD"


@pytest.mark.parametrize("route", ["one scan", "layer", "cohort"])
def test_the_history_of_a_prediction_is_printed(cohort, net, tmp_path, route):
    scan = cohort[0].get_first_image()
    if route == "one scan":
        made = vx.infer(net, scan, tmp_path / "p.ome.zarr", patch_size=8)
    elif route == "layer":
        made = vx.infer(net, scan, layer="found", patch_size=8)
    else:
        before = vx.Compose([vx.ToCanonical(), vx.Resample(1)])
        labels = vx.infer(net, cohort, tmp_path / "p", patch_size=8, preprocess=before)
        made = labels[0]["prediction"]
    told = CliRunner().invoke(main, ["history", str(made.source.path)])
    assert told.exit_code == 0, told.stderr
    (step,) = [one for one in loads(told.stdout) if one["operation"] == "infer"]
    recorded = [one for one in made.history if one["operation"] == "infer"][-1]
    assert step["arguments"]["model"] == recorded["arguments"]["model"]
    assert step["arguments"]["patch_size"] == [8, 8, 8]
    (tmp_path / "again.yaml").write_text(told.stdout)
    with pytest.raises(vx.FormatError, match="a model predicted the image") as error:
        vx.Compose.from_yaml(tmp_path / "again.yaml")
    assert error.value.code == "UNKNOWN_TRANSFORM"


def test_a_subject_that_fails_lacks_one_prediction(net, tmp_path):
    """However many images it has."""
    for name, value in (("t1", 1.0), ("t2", np.inf)):
        voxels = np.full((1, 8, 8, 8), value, np.float32)
        vx.ScalarImage(tensor=voxels).save(tmp_path / f"scans/a_{name}.nii.gz")
    vx.convert_cohort(
        tmp_path / "scans",
        tmp_path / "cohort",
        image_patterns={"t1": "*_t1.nii.gz", "t2": "*_t2.nii.gz"},
        progress=False,
    )
    with pytest.raises(vx.VoxarrayError, match=r"1 image failed; .*: a: MISSING_CHANNELS\n"):
        vx.infer(
            net,
            vx.Cohort(tmp_path / "cohort"),
            tmp_path / "made",
            channels=["t3"],
            patch_size=8,
            progress=False,
        )
    assert vx.Cohort(tmp_path / "made").table["image"].tolist() == ["prediction"]


def test_names_of_overlapping_classes_are_not_those_of_0_and_1(net, cohort, tmp_path):
    """As of a single scan: each 0 was named liver, and each 1 spleen."""
    options = {"patch_size": 8, "activation": "sigmoid", "classes": ["liver", "spleen"]}
    predictions = vx.infer(net, cohort[:1], tmp_path / "masks", **options, progress=False)
    vx.infer(net, cohort[:1], layer="organs", **options, progress=False)
    for masks in (predictions[0]["prediction"], vx.Cohort(cohort.path)[0]["organs"]):
        assert masks.shape[0] == 2
        assert masks.source.label_table == ()


def test_predictions_in_a_cohort_of_their_own_keep_the_metadata(net, tmp_path):
    for name in ("a", "b"):
        voxels = np.random.default_rng(0).random((1, 9, 9, 9), np.float32)
        vx.ScalarImage(tensor=voxels).save(tmp_path / f"scans/{name}_t1.nii.gz")
    vx.ScalarImage(tensor=voxels).save(tmp_path / "scans/b_t2.nii.gz")
    (tmp_path / "scans/participants.tsv").write_text("participant_id\tage\na\t33\nb\t44\n")
    vx.convert_cohort(
        tmp_path / "scans",
        tmp_path / "cohort",
        image_patterns={name: f"{{subject}}_{name}.nii.gz" for name in ("t1", "t2")},
        keep_metadata=["age"],
        progress=False,
    )
    with pytest.raises(vx.VoxarrayError, match="MISSING_CHANNELS"):
        vx.infer(
            net,
            vx.Cohort(tmp_path / "cohort"),
            tmp_path / "labels",
            patch_size=8,
            channels=["t2"],
            progress=False,
        )
    table = vx.Cohort(tmp_path / "labels").table
    assert list(table["status"]) == ["failed", "done"]
    assert list(table["kind"]) == ["label", "label"]
    assert list(table["age"]) == ["33", "44"]
