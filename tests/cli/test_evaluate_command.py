"""``voxarray evaluate`` says what `vx.evaluate` finds."""

from __future__ import annotations

import io
import json
import traceback

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import voxarray as vx
from voxarray.cli.main import main


def run(*words):
    done = CliRunner().invoke(main, ["evaluate", *map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.fixture
def maps(tmp_path):
    truth = np.zeros((1, 20, 18, 16), np.uint8)
    truth[:, 5:15, 5:15, 5:12] = 1
    truth[:, :3, :3, :3] = 4
    found = np.roll(truth, 1, axis=1)
    found[found == 4] = 7
    for name, voxels in {"truth": truth, "found": found}.items():
        vx.LabelMap(tensor=voxels).save(tmp_path / f"{name}.nii.gz")
    vx.ScalarImage(tensor=truth.astype("float32")).save(tmp_path / "scan.nii.gz")
    return tmp_path / "found.nii.gz", tmp_path / "truth.nii.gz"


@pytest.fixture
def cohort(tmp_path):
    for number in range(2):
        folder = tmp_path / "scans" / f"sub-{number}"
        folder.mkdir(parents=True)
        scan = vx.testing.sample((14, 12, 10))
        scan.save(folder / "t1.nii.gz")
        for name, shift in {"found": number, "truth": 0}.items():
            voxels = np.zeros((1, 14, 12, 10), np.uint8)
            voxels[:, 3:8, 2 + shift : 8 + shift, 2:7] = 1
            vx.LabelMap(tensor=voxels, affine=scan.affine).save(folder / f"{name}.nii.gz")
    vx.convert_cohort(
        tmp_path / "scans",
        tmp_path / "cohort",
        image_patterns={"t1": "**/t1.nii.gz"},
        label_patterns={"found": "**/found.nii.gz", "truth": "**/truth.nii.gz"},
        progress=False,
    )
    return tmp_path / "cohort"


def same(table, records):
    """JSON has null where a table has NaN."""
    pd.testing.assert_frame_equal(pd.DataFrame(records).astype(table.dtypes), table)


def test_two_label_maps(maps):
    expected = vx.evaluate(*maps).table
    done = run(*maps, "--json")
    assert done.exit_code == 0
    document = json.loads(done.stdout, parse_constant=pytest.fail)
    assert (document["prediction"], document["reference"]) == tuple(map(str, maps))
    assert [row["label"] for row in document["scores"]] == [1, 4, 7]
    assert document["scores"][1]["hausdorff_mm"] is None
    same(expected, document["scores"])


def test_evaluate_prints_an_aligned_table_or_csv(maps):
    done = run(*maps)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert lines[0].split()[:3] == ["label", "name", "dice"]
    assert lines[1].split()[1:3] == ["0.9", "700"]
    found = pd.read_csv(io.StringIO(run(*maps, "--csv").stdout), keep_default_na=True)
    assert np.allclose(found["dice"], vx.evaluate(*maps).table["dice"])
    assert run(*maps, "--quiet").stdout == ""


def test_labels_and_surfaces_can_be_chosen(maps):
    scores = json.loads(run(*maps, "--json", "--labels", "1", "--no-surfaces").stdout)["scores"]
    assert [row["label"] for row in scores] == [1]
    assert scores[0]["hausdorff_mm"] is None
    assert scores[0]["dice"] == pytest.approx(0.9)


def test_layers_of_a_cohort_and_a_picture(tmp_path, cohort):
    names = ["--layer", "found", "--reference-layer", "truth"]
    done = run(cohort, cohort, *names, "--json", "--montage", tmp_path / "m.png", "--most", "1")
    assert done.exit_code == 0, done.output
    scores = json.loads(done.stdout)["scores"]
    opened = vx.Cohort(cohort)
    same(vx.evaluate(opened, opened, layer="found", reference_layer="truth"), scores)
    assert [round(row["dice"], 3) for row in scores] == [1, round(5 / 6, 3)]
    assert (tmp_path / "m.png").stat().st_size > 1000


def test_a_query_of_the_references_chooses_subjects_too(cohort, tmp_path):
    """What the references lack is known to their catalogue alone."""
    vx.Archive(vx.Cohort(cohort)["sub-1"].t1.path).remove_labels("truth")
    vx.Cohort(cohort).map(only_found).save(tmp_path / "predictions", progress=False)
    words = tmp_path / "predictions", cohort, "--layer", "found", "--reference-layer", "truth"
    assert "(--reference-query)" in run(*words).output
    chosen = "--reference-query", "'truth' in labels"
    done = run(*words, *chosen, "--json")
    assert {row["subject"] for row in json.loads(done.stdout)["scores"]} == {"sub-0"}
    assert run(*words, *chosen, "--query", "subject == 'sub-1'").exit_code == 2
    assert run(*words, "--reference-query", "channels == 9").exit_code == 2
    both = "--query", "subject == 'sub-0'", *chosen, "--json"
    assert json.loads(run(*words, *both).stdout)["scores"] == json.loads(done.stdout)["scores"]
    maps = tmp_path / "a.nii.gz", tmp_path / "a.nii.gz"
    assert (
        "--reference-query chooses among the subjects of two cohorts" in run(*maps, *chosen).output
    )
    vx.Cohort(cohort)[:1].map(only_found).save(tmp_path / "fewer", progress=False)
    told = run(tmp_path / "fewer", *words[1:]).output
    assert "1 subject is in one cohort only: sub-1 has no prediction." in told


def only_found(subject):
    return vx.Subject(found=subject.found, subject=subject["subject"])


def test_a_query_chooses_the_subjects_that_are_compared(cohort):
    names = ["--layer", "found", "--reference-layer", "truth"]
    first, *others = vx.Cohort(cohort).names
    vx.Archive(vx.Cohort(cohort)[first].get_first_image().path).remove_labels("found")
    done = run(cohort, cohort, *names)
    assert done.exit_code == 1
    assert "NO_LABELS" in done.output
    assert "--query" in done.output
    done = run(cohort, cohort, *names, "--query", "'found' in labels", "--json")
    assert done.exit_code == 0, done.output
    assert {row["subject"] for row in json.loads(done.stdout)["scores"]} == set(others)
    for query in ("channels == 9", "nothing == 1"):
        assert run(cohort, cohort, *names, "--query", query).exit_code != 0
    assert run(cohort, cohort, *names, "--query", "channels == 9").exit_code == 2


def test_a_picture_of_two_label_maps(tmp_path, maps):
    picture = ["--images", tmp_path / "scan.nii.gz", "--montage", tmp_path / "m.png"]
    assert run(*maps, *picture).exit_code == 0
    assert (tmp_path / "m.png").stat().st_size > 1000


def test_what_makes_no_sense_is_usage_and_what_fails_is_named(tmp_path, maps, cohort):
    for words in (
        [*maps, "--labels", "a"],
        [*maps, "--layer", "found"],
        [*maps, "--query", "channels == 1"],
        [*maps, "--images", maps[0]],
        [*maps, "--csv", "--json"],
        [cohort, maps[1]],
    ):
        done = run(*words)
        assert done.exit_code == 2, done.output
    done = run(maps[0], tmp_path / "none.nii.gz", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"]["code"]
    done = run(cohort, cohort, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"]["code"] == "NO_LABELS"
    vx.LabelMap(tensor=np.ones((1, 3, 3, 3), "u1")).save(tmp_path / "small.nii.gz")
    done = run(maps[0], tmp_path / "small.nii.gz", "--json")
    assert json.loads(done.stdout)["error"]["code"] == "GRID_MISMATCH"
    assert json.loads(run(*maps, "--memory", "1 kB", "--json").stdout)["error"]["code"]


@pytest.fixture
def pairs(tmp_path):
    """Two cohorts of label maps; those of sub-1 are on two grids, and sub-2 has no labels."""
    for role in ("found", "truth"):
        for number in range(4):
            voxels = np.zeros((1, 14, 12, 10), np.uint8)
            if number != 2:
                voxels[:, 3:8, 2:8, 2:7] = 1
            is_apart = number == 1 and role == "found"
            affine = np.diag([3.0, 3, 3, 1]) if is_apart else np.eye(4)
            folder = tmp_path / role
            folder.mkdir(exist_ok=True)
            vx.LabelMap(tensor=voxels, affine=affine).save(folder / f"sub-{number}.nii.gz")
        vx.convert_cohort(
            tmp_path / role,
            tmp_path / f"{role}-cohort",
            label_patterns={"seg": "*.nii.gz"},
            progress=False,
        )
    return tmp_path / "found-cohort", tmp_path / "truth-cohort"


def test_a_subject_that_fails_is_named_and_the_others_are_scored(pairs):
    done = run(*pairs)
    assert done.exit_code == 3, done.output
    assert "sub-0" in done.stdout
    assert "sub-3" in done.stdout
    assert "sub-1: GRID_MISMATCH" in done.stderr
    assert "1 of 4 failed" in done.stderr
    told = json.loads(run(*pairs, "--json").stdout)
    assert [row["subject"] for row in told["scores"]] == ["sub-0", "sub-3"]
    assert [(one["path"], one["code"]) for one in told["failed"]] == [("sub-1", "GRID_MISMATCH")]
    as_csv = run(*pairs, "--csv")
    assert as_csv.exit_code == 3
    assert len(pd.read_csv(io.StringIO(as_csv.stdout))) == 2


@pytest.fixture
def scans(tmp_path):
    """A cohort of the scans of the four subjects."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(4):
        voxels = np.zeros((1, 14, 12, 10), np.float32)
        vx.ScalarImage(tensor=voxels).save(folder / f"sub-{number}.nii.gz")
    vx.convert_cohort(folder, tmp_path / "scan-cohort", progress=False)
    return tmp_path / "scan-cohort"


def test_a_subject_that_fails_is_named_in_python(pairs, scans, tmp_path):
    found, truth = map(vx.Cohort, pairs)
    with pytest.raises(vx.VoxarrayError, match=r"1 of 4 subjects .* sub-1: GRID") as caught:
        vx.evaluate(found, truth)
    assert caught.value.code == "SOME_FAILED"
    assert list(caught.value.table["subject"]) == ["sub-0", "sub-3"]
    assert (caught.value.table["dice"] == 1).all()
    with pytest.raises(vx.GridError) as alone:  # if nobody is left, it is the error itself
        vx.evaluate(found[["sub-1"]], truth[["sub-1"]])
    assert alone.value.code == "GRID_MISMATCH"
    done = run(*pairs, "--images", scans, "--montage", tmp_path / "m.png")
    assert done.exit_code == 3, done.output
    assert "sub-1: GRID_MISMATCH" in done.stderr
    assert (tmp_path / "m.png").stat().st_size > 1000


def test_a_damaged_subject_in_the_picture_stops_no_other(pairs, scans, tmp_path):
    (archive,) = (pairs[0] / "subjects").glob("sub-3*")
    (archive / "manifest.json").unlink()
    done = run(*pairs, "--images", scans, "--montage", tmp_path / "m.png")
    assert done.exit_code == 3, done.output
    assert "sub-3: NO_MANIFEST" in done.stderr
    assert "sub-0" in done.stdout


def test_errors_that_are_kept_hold_no_voxels(pairs):
    (archive,) = (pairs[0] / "subjects").glob("sub-3*")
    (shard,) = archive.glob("scale0/*/c/0/0/0/0")
    damaged = bytearray(shard.read_bytes())
    damaged[8] ^= 255
    shard.write_bytes(damaged)
    with pytest.raises(vx.VoxarrayError, match="2 of 4 subjects") as caught:
        vx.evaluate(vx.Cohort(pairs[0]), vx.Cohort(pairs[1]))
    error = caught.value.failures["sub-3"]
    assert error.code == "BAD_CHECKSUM"
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            held = [name for name, one in frame.f_locals.items() if isinstance(one, np.ndarray)]
            assert held == [], frame
        error = error.__cause__


@pytest.mark.parametrize("place", ["prediction", "reference"])
def test_a_cohort_that_is_not_there_is_named(pairs, tmp_path, place):
    given = {"prediction": pairs[0], "reference": pairs[1], place: tmp_path / "nope"}
    done = run(*given.values())
    assert done.exit_code == 1
    assert "NOT_FOUND" in done.stderr
    assert "nope" in done.stderr
    opened = {**{key: vx.Cohort(pairs[0]) for key in given}, place: tmp_path / "nope"}
    with pytest.raises(vx.MissingFileError, match="nope"):
        vx.evaluate(**opened)
    with pytest.raises(TypeError, match=rf"{place} is not .*found-cohort"):
        vx.evaluate(**{**opened, place: pairs[0]})
