"""Verify finds every archive and every cohort, at any depth, and says what is missing in each."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from cohort_samples import run, save

import voxarray as vx
from voxarray.cohort.discover.archives import holdings
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.run.build import build
from voxarray.cohort.verify_cohort import verify_below

DEPTHS = ("cohort", "all/cohort", "all/by/site/cohort", "outer/inner")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Two images, in a folder of archives and one of zips, and an archive of its own."""
    folder = tmp_path_factory.mktemp("made")
    for number, name in enumerate("ab"):
        save(folder / f"scans/{name}.nii.gz", number)
    build(folder / "scans", folder / "cohort")
    build(folder / "scans", folder / "zipped", options=ArchiveOptions(zipped=True))
    vx.ScalarImage(tensor=np.ones((1, 9, 8, 7))).save(folder / "t1.ome.zarr")
    return folder


def place(made: Path, folder: Path, depth: str, which: str = "cohort") -> Path:
    """A copy of a cohort at some depth, and an archive beside it."""
    if depth.startswith("outer"):
        shutil.copytree(made / which, folder / "outer")
    shutil.copytree(made / which, folder / depth)
    shutil.copytree(made / "t1.ome.zarr", folder / depth.split("/")[0] / "t1.ome.zarr")
    return folder / depth


def problems(*paths: Path) -> dict[str, list[str]]:
    verdicts = verify_below(paths)
    return {
        os.path.basename(one.name): [problem.code for problem in one.problems]
        for one in verdicts
        if one.problems
    }


def archive_of(cohort: Path, letter: str) -> Path:
    (found,) = (cohort / "subjects").glob(f"{letter}-*")
    return found


def damage(archive: Path) -> None:
    file = archive if archive.is_file() else archive / "scale0/image/c/0/0/0/0"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("which", ["cohort", "zipped"])
def test_damage_in_a_cohort_is_found_at_any_depth(made, tmp_path, depth, which):
    cohort = place(made, tmp_path, depth, which)
    assert problems(tmp_path) == {}
    victim = archive_of(cohort, "a")
    damage(victim)
    found = problems(tmp_path)
    assert list(found) == [victim.name]
    assert found[victim.name]
    assert run("verify", tmp_path).exit_code == 3
    assert [one.code for one in vx.verify(tmp_path)] == found[victim.name]
    assert problems(tmp_path / depth.split("/")[0]) == found


@pytest.mark.parametrize("depth", DEPTHS)
def test_what_is_missing_from_a_cohort_is_found_at_any_depth(made, tmp_path, depth):
    cohort = place(made, tmp_path, depth)
    victim = archive_of(cohort, "b")
    shutil.rmtree(victim)
    assert problems(tmp_path) == {victim.name: ["MISSING"]}
    assert [one.code for one in vx.verify(tmp_path)] == ["MISSING"]
    assert problems(tmp_path, made / "cohort") == {victim.name: ["MISSING"]}
    told = run("verify", tmp_path, made / "cohort")
    assert told.exit_code == 3
    assert str(victim) in told.stderr


@pytest.mark.parametrize(
    "named", [("short", "cohort"), ("cohort", "short"), ("short", "t1.ome.zarr")]
)
def test_what_is_missing_is_found_whatever_else_is_named(made, tmp_path, named):
    for name in ("cohort", "short"):
        shutil.copytree(made / "cohort", tmp_path / name)
    shutil.copytree(made / "t1.ome.zarr", tmp_path / "t1.ome.zarr")
    victim = archive_of(tmp_path / "short", "b")
    shutil.rmtree(victim)
    assert run("verify", *(tmp_path / name for name in named)).exit_code == 3


def test_without_a_plan_the_catalogue_says_what_is_missing(made, tmp_path):
    cohort = place(made, tmp_path, "cohort")
    (cohort / "plan.json").unlink()
    victim = archive_of(cohort, "b")
    shutil.rmtree(victim)
    assert problems(tmp_path) == {victim.name: ["MISSING"]}


@pytest.mark.parametrize("name", ["plan.json", "catalogue.parquet"])
def test_a_damaged_table_is_a_problem_and_stops_nothing(made, tmp_path, name):
    cohort = place(made, tmp_path, "all/cohort")
    data = bytearray((cohort / name).read_bytes())
    data[len(data) // 2] ^= 1
    (cohort / name).write_bytes(data)
    victim = archive_of(cohort, "a")
    damage(victim)
    found = problems(tmp_path)
    assert set(found) == {name, victim.name}
    assert found[name] == ["BAD_CHECKSUM"]


def test_a_cohort_without_any_archive_is_verified_as_a_cohort(made, tmp_path):
    cohort = place(made, tmp_path, "all/cohort")
    shutil.rmtree(cohort / "subjects")
    (cohort / "catalogue.parquet").unlink()
    assert sorted(problems(tmp_path).values()) == [["MISSING"], ["MISSING"]]


def test_folders_that_hold_nothing_are_named(made, tmp_path):
    (tmp_path / "empty").mkdir()
    told = run("verify", tmp_path / "empty", made / "t1.ome.zarr")
    assert told.exit_code == 3
    assert "NOTHING_FOUND" in told.stderr
    assert run("verify", tmp_path / "empty").exit_code == 1


def test_a_plan_of_others_is_no_cohort(made, tmp_path):
    shutil.copytree(made / "t1.ome.zarr", tmp_path / "all/x/t1.ome.zarr")
    (tmp_path / "all/x/plan.json").write_text('{"travel": "Rome"}')
    found = holdings([tmp_path / "all"])
    assert (found.cohorts, len(found.archives)) == ((), 1)


def test_everything_is_verified_once(made, tmp_path):
    cohort = place(made, tmp_path, "all/cohort")
    (tmp_path / "all/link").symlink_to(tmp_path / "all/cohort")
    (cohort / "subjects/up").symlink_to(tmp_path)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one/two").symlink_to(tmp_path / "two")
    (tmp_path / "two/one").symlink_to(tmp_path / "one")
    names = [one.name for one in verify_below([tmp_path, tmp_path / "all", cohort])]
    assert len(names) == len(set(names)) == 3
    assert holdings([tmp_path, cohort]).count == 3


def test_what_is_being_built_is_not_looked_at(made, tmp_path):
    place(made, tmp_path, "all/cohort")
    hidden = tmp_path / "all/.t1.ome.zarr.0123456789abcdef.staging"
    shutil.copytree(made / "t1.ome.zarr", hidden / "archive")
    (hidden / "archive/manifest.json").unlink()
    assert problems(tmp_path) == {}


def test_an_archive_in_a_cohort_that_no_plan_names_is_verified(made, tmp_path):
    cohort = place(made, tmp_path, "all/cohort")
    stranger = cohort / "subjects/stranger.ome.zarr"
    shutil.copytree(made / "t1.ome.zarr", stranger)
    damage(stranger)
    (cohort / "subjects/deeper").mkdir()
    shutil.copytree(stranger, cohort / "subjects/deeper/b.zarr")
    assert set(problems(tmp_path)) == {"stranger.ome.zarr", "b.zarr"}
    assert CohortLayout.of(cohort).is_cohort()


def test_a_file_that_is_no_archive_is_named(tmp_path):
    vx.ScalarImage(tensor=np.zeros((1, 2, 2, 2), "uint8")).save(tmp_path / "t1.nii.gz")
    with pytest.raises(vx.UnsupportedError, match=r"t1\.nii\.gz is a file of the format") as caught:
        vx.verify(tmp_path / "t1.nii.gz")
    assert caught.value.code == "NOT_AN_ARCHIVE"
