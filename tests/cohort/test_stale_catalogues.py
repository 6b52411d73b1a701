"""`verify` holds the catalogue to the archives, and says what it did not compare."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from cohort_samples import archives, run, save

import voxarray as vx
from voxarray.cohort.catalogue import refresh as refreshing
from voxarray.cohort.catalogue.finalise import finalise
from voxarray.cohort.run.build import ExecutionOptions, build


@pytest.fixture
def cohort(tmp_path):
    for number in range(4):
        save(tmp_path / f"in/{number}.nii", number)
    build(tmp_path / "in", tmp_path / "out")
    return tmp_path / "out"


def found(cohort, **more):
    return [(problem.code, problem.message) for problem in vx.verify(cohort, **more)]


def codes(cohort, **more):
    return [code for code, _ in found(cohort, **more)]


def test_a_part_that_was_converted_after_finalise_is_not_listed(tmp_path):
    for number in range(4):
        save(tmp_path / f"in/{number}.nii", number)
    run("plan", tmp_path / "in", tmp_path / "out")
    build(tmp_path / "in", tmp_path / "out", run=ExecutionOptions(partition=(1, 2)))
    finalise(tmp_path / "out")
    assert set(codes(tmp_path / "out")) == {"MISSING"}
    build(tmp_path / "in", tmp_path / "out", run=ExecutionOptions(partition=(2, 2)))
    ((code, message),) = found(tmp_path / "out")
    assert code == "STALE_CATALOGUE"
    assert "and 1 more" in message
    assert "voxarray finalise" in message
    result = run("verify", "--quick", "--json", tmp_path / "out")
    assert result.exit_code == 3
    (last,) = [one for one in json.loads(result.stdout)["archives"] if one["problems"]]
    assert last["path"] == str(tmp_path / "out/catalogue.parquet")
    finalise(tmp_path / "out")
    assert found(tmp_path / "out") == []


def test_an_older_catalogue_is_named(cohort, tmp_path):
    kept = (cohort / "catalogue.parquet").read_bytes()
    save(tmp_path / "in/5.nii", 5)
    build(tmp_path / "in", cohort)
    assert found(cohort) == []
    (cohort / "catalogue.parquet").write_bytes(kept)
    assert codes(cohort) == ["STALE_CATALOGUE"]


def test_archives_that_took_the_place_of_others_are_named(cohort, tmp_path):
    kept = (cohort / "catalogue.parquet").read_bytes()
    save(tmp_path / "in/2.nii", 77, (12, 10, 9))
    build(tmp_path / "in", cohort)
    (cohort / "catalogue.parquet").write_bytes(kept)
    ((code, message),) = found(cohort)
    assert (code, archives(cohort)[2].name in message) == ("STALE_CATALOGUE", True)


def test_a_deleted_archive_that_no_plan_names_is_listed_no_more(cohort, tmp_path):
    os.remove(tmp_path / "in/0.nii")
    build(tmp_path / "in", cohort)
    gone = archives(cohort)[0]
    assert found(cohort) == []
    shutil.rmtree(gone)
    ((code, message),) = found(cohort)
    assert (code, gone.name in message) == ("STALE_CATALOGUE", True)


def test_label_maps_that_the_catalogue_does_not_know_are_named(cohort, monkeypatch):
    archive = vx.Archive(archives(cohort)[1])
    mask = vx.LabelMap(tensor=(archive.image.data > 50).byte(), affine=archive.image.affine)
    archive.add_labels("seg", mask)
    assert found(cohort) == []
    with monkeypatch.context() as killed:
        killed.setattr(refreshing, "_refresh", lambda *_: None)
        archive.remove_labels("seg")
    assert codes(cohort) == ["STALE_CATALOGUE"]


def test_a_catalogue_that_follows_meanwhile_is_no_problem(cohort, monkeypatch):
    """Whoever adds a label map publishes the archive first, and the catalogue after it."""
    archive = vx.Archive(archives(cohort)[1])
    archive.add_notes(quality="good")
    mask = vx.LabelMap(tensor=(archive.image.data > 50).byte(), affine=archive.image.affine)
    from voxarray.cohort import verify_cohort as module

    def late(folder):
        late.wanted = wanted(folder)
        archive.add_labels("seg", mask)
        return late.wanted

    wanted = module._wanted
    monkeypatch.setattr(module, "_wanted", late)
    assert found(cohort) == []


def test_what_was_not_compared_with_a_source_is_not_called_good(cohort, tmp_path):
    assert found(cohort, source=tmp_path / "in") == []
    os.rename(tmp_path / "in/0.nii", tmp_path / "in/renamed.nii")
    build(tmp_path / "in", cohort)
    ((code, message),) = found(cohort, source=tmp_path / "in")
    assert code == "NOT_COMPARED"
    assert "renamed or left out" in message
    result = run("verify", cohort, "--source", tmp_path / "in")
    assert (result.exit_code, "4 OK" in result.stdout) == (3, True)
    result = run("verify", cohort)  # its checksums are right, and its voxels may be wanted
    assert (result.exit_code, "5 OK" in result.stdout) == (0, True)
    assert "note: 1 archive is not in the plan any more: a source was removed" in result.stdout
    (cohort / "plan.json").unlink()
    assert codes(cohort, source=tmp_path / "in") == ["NOT_COMPARED"] * 5


def test_a_cohort_without_a_catalogue_is_told_to_be_finalised(cohort):
    (cohort / "catalogue.parquet").unlink()
    ((code, message),) = found(cohort)
    assert (code, "voxarray finalise" in message) == ("NO_CATALOGUE", True)
    assert codes(cohort, quick=True) == ["NO_CATALOGUE"]
    assert codes(cohort.parent) == ["NO_CATALOGUE"]
    result = run("verify", cohort)
    assert result.exit_code == 3
    assert "NO_CATALOGUE: catalogue.parquet" in result.output
    finalise(cohort)
    assert found(cohort) == []


def test_a_cohort_of_parts_lacks_a_catalogue_until_it_is_finalised(tmp_path):
    for number in range(4):
        save(tmp_path / f"in/{number}.nii", number)
    run("plan", tmp_path / "in", tmp_path / "out")
    for part in (1, 2):
        build(tmp_path / "in", tmp_path / "out", run=ExecutionOptions(partition=(part, 2)))
    assert codes(tmp_path / "out") == ["NO_CATALOGUE"]
    finalise(tmp_path / "out")
    assert codes(tmp_path / "out") == []


def test_no_label_map_is_called_like_an_image_of_its_subject(tmp_path):
    """Or else the cohort could open none of its subjects one after the other."""
    for subject in ("a", "b"):
        for image in ("t1", "seg")[: 2 if subject == "a" else 1]:
            save(tmp_path / f"in/{subject}_{image}.nii")
    patterns = {"t1": "{subject}_t1*", "seg": "{subject}_seg*"}
    vx.convert_cohort(tmp_path / "in", tmp_path / "out", image_patterns=patterns)
    first, second = vx.Cohort(tmp_path / "out")
    marks = vx.LabelMap(tensor=(first.t1.numpy() > 50).astype("u1"), affine=first.t1.affine)
    marks.save(tmp_path / "marks.nii")
    archive = vx.Archive(first.t1.path)
    for name in ("seg", "t1"):
        with pytest.raises(vx.ArchiveExistsError, match=r"'a' .*already has an image") as caught:
            archive.add_labels(name, marks)
        assert caught.value.code == "NAME_TAKEN"
    refused = run("add-labels", archive.path, "seg", tmp_path / "marks.nii")
    assert (refused.exit_code, "NAME_TAKEN" in refused.output) == (1, True)
    assert (list(archive.labels), archive.generation) == ([], 0)
    archive.add_labels("lesion", marks)
    vx.Archive(second.t1.path).add_labels("seg", marks)  # that one has none
    subjects = list(vx.Cohort(tmp_path / "out"))
    assert [one.get_images_names() for one in subjects] == [["seg", "t1", "lesion"], ["t1", "seg"]]
    shutil.copytree(archive.path, tmp_path / "subjects/a.ome.zarr")
    vx.Archive(tmp_path / "subjects/a.ome.zarr").add_labels("seg", marks)  # in no cohort
