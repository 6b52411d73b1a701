"""A part of a plan looks at its own images, says what failed of them, and pays for nothing else."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cohort_samples import make_cohort, run, save, truth

import voxarray as vx
from voxarray.cohort.discover.locate import locate
from voxarray.cohort.discover.search import search
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import ArchiveOptions, InputSelection
from voxarray.cohort.plan.part import read_part
from voxarray.cohort.plan.plan import Plan
from voxarray.cohort.run.build import ExecutionOptions, build
from voxarray.core.errors import (
    ChecksumError,
    FormatError,
    MissingFileError,
    VoxarrayError,
)

OPTIONS = ArchiveOptions()


# --- Reading a part of a plan ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_cohort(folder / "in", 9, 3)
    build(folder / "in", folder / "out")
    return folder


@pytest.mark.parametrize("of", [1, 2, 5, 12, 40])
def test_parts_are_those_of_the_whole_plan(made, of):
    path = CohortLayout.of(made / "out").plan
    plan = Plan.read(path)
    for number in range(1, of + 1):
        part = read_part(path, number, of)
        assert list(part.items) == plan.part(number, of)
        assert (part.origin, part.options, part.zipped) == (plan.origin, plan.options, plan.zipped)


def test_parts_of_a_plan_that_does_not_say_its_order(made, tmp_path):
    """As voxarray 0.1 wrote it."""
    import hashlib

    path = CohortLayout.of(made / "out").plan
    content = json.loads(Path(path).read_bytes())
    rows = content.pop("items")
    for key in ("order", "sha256"):
        del content[key]
    text = ",\n".join(json.dumps(row) for row in rows)
    body = f'{json.dumps(content)[:-1]},\n"items": [\n{text}\n],\n'.encode()
    old = tmp_path / "plan.json"
    old.write_bytes(body + f'"sha256": "{hashlib.sha256(body).hexdigest()}"}}\n'.encode())
    assert list(read_part(str(old), 2, 3).items) == Plan.read(path).part(2, 3)


@pytest.mark.parametrize("at", [0.001, 0.3, 0.7, 0.999])
def test_a_damaged_plan_has_no_parts(made, tmp_path, at):
    data = bytearray(Path(CohortLayout.of(made / "out").plan).read_bytes())
    data[int(at * len(data))] ^= 1
    (tmp_path / "plan.json").write_bytes(data)
    with pytest.raises(ChecksumError):
        read_part(str(tmp_path / "plan.json"), 1, 2)
    (tmp_path / "plan.json").write_bytes(data[:900])
    with pytest.raises(ChecksumError):
        read_part(str(tmp_path / "plan.json"), 1, 2)
    with pytest.raises(MissingFileError) as caught:
        read_part(str(tmp_path / "none.json"), 1, 2)
    assert caught.value.code == "NO_PLAN"


# --- Where inputs are -----------------------------------------------------------------------------


def sources_of(folder: Path, kind: str) -> tuple[list[str], InputSelection]:
    """Sources of one kind, and which files belong together."""
    for name in ("one/a.nii", "one/deep/b.nii.gz", "two/a.nii", "one/a_seg.nii"):
        save(folder / name, len(name))
    for name in ("sub-1_T1w", "sub-2_T1w"):
        save(folder / f"bids/{name[:5]}/anat/{name}.nii.gz", 3)
    (folder / "bids/dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    with open(folder / "table.csv", "w", newline="") as file:
        csv.writer(file).writerows([["id", "image"], ["1", "one/a.nii"], ["2", "two/a.nii"]])
    (folder / "list.txt").write_text("one/a.nii\n../" + folder.name + "/one/deep/b.nii.gz\n")
    (folder / "other").mkdir(exist_ok=True)
    (folder / "other/list.txt").write_text(f"{folder}/one/a.nii\n{folder}/two/a.nii\n")
    vx.ScalarImage(folder / "one/a.nii").save(folder / "t.ome.zarr", overwrite=True)
    found = {
        "folder": ["one"],
        "two folders": ["one", "two"],
        "file": ["one/a.nii"],
        "archive": ["t.ome.zarr"],
        "glob": ["*/a.nii"],
        "deep glob": ["o*/**/*.nii.gz"],
        "bids": ["bids"],
        "table": ["table.csv"],
        "list": ["list.txt"],
        "list of elsewhere": ["other/list.txt"],
        "pattern": ["one"],
        "all": ["one", "table.csv", "bids", "list.txt"],
    }[kind]
    choice = InputSelection()
    if kind == "pattern":
        choice = InputSelection((("t1", "**/*.nii*"),), (("seg", "*_seg.nii"),))
    return [str(folder / one) for one in found], choice


KINDS = (
    *("folder", "two folders", "file", "archive", "glob", "deep glob", "bids", "table", "list"),
    *("list of elsewhere", "pattern", "all"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_are_where_a_search_finds_them(tmp_path, kind):
    sources, choice = sources_of(tmp_path, kind)
    found = search(sources, str(tmp_path / "out"), choice, OPTIONS)
    assert found
    expected = {one.source: one.location for one in found}
    assert locate(list(expected), sources, choice, OPTIONS) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_parts_convert_what_was_planned(tmp_path, kind):
    sources, choice = sources_of(tmp_path, kind)
    build(sources, tmp_path / "whole", choice=choice)
    build(sources, tmp_path / "out", choice=choice)
    shutil.rmtree(tmp_path / "out/subjects")
    for number in (2, 1):
        build(sources, tmp_path / "out", choice=choice, run=ExecutionOptions(partition=(number, 2)))
    assert run("finalise", tmp_path / "out").exit_code in (0, 3)
    assert truth(tmp_path / "out") == truth(tmp_path / "whole")


def test_sources_that_cannot_hold_an_input_are_refused(tmp_path):
    save(tmp_path / "in/a.nii", 1)
    with pytest.raises(MissingFileError) as caught:
        locate(["b.nii"], [str(tmp_path / "in/a.nii")], InputSelection(), OPTIONS)
    assert caught.value.code == "OTHER_SOURCE"
    with pytest.raises(MissingFileError, match="nothing at"):
        locate(["a.nii"], [str(tmp_path / "gone")], InputSelection(), OPTIONS)


# --- What a part costs ----------------------------------------------------------------------------

_COUNTS = """
import os, sys
seen = [0]
roots = tuple(sys.argv[1:3])
def counted(name):
    original = getattr(os, name)
    def call(path=".", *more, **options):
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(roots):
            seen[0] += 1
        return original(path, *more, **options)
    setattr(os, name, call)
from voxarray.cohort.run.build import ExecutionOptions, build
for name in ("stat", "lstat", "open", "listdir", "scandir", "mkdir", "rmdir", "rename", "unlink"):
    counted(name)
sys.addaudithook(lambda event, of: seen.__setitem__(
    0, seen[0] + (event == "open" and str(of[0]).startswith(roots))))
made = build(sys.argv[1], sys.argv[2], run=ExecutionOptions(partition=(1, int(sys.argv[3]))))
print(seen[0], made.present, made.converted)
"""


def grown(made: Path, folder: Path, images: int, parts: int) -> Path:
    """A plan of many images, of which those of its first part are there."""
    plan = Plan.read(CohortLayout.of(made / "out").plan)
    whole = CohortLayout.of(made / "out")
    one = next(i for i in plan.items if Path(whole.archive(i.slug, False)).exists())
    items = tuple(dataclasses.replace(one, slug=f"{n:06}", subject=str(n)) for n in range(images))
    grown = dataclasses.replace(plan, items=items)
    there = CohortLayout.of(folder)
    Path(there.subjects).mkdir(parents=True)
    grown.write(there.plan)
    manifest = Path(whole.archive(one.slug, False), "manifest.json")
    for item in grown.part(1, parts):
        archive = Path(there.archive(item.slug, False))
        archive.mkdir()
        shutil.copy(manifest, archive)
    return folder


def cost(source: Path, cohort: Path, parts: int) -> tuple[int, int, int]:
    command = [sys.executable, "-c", _COUNTS, str(source), str(cohort), str(parts)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seen, present, converted = map(int, done.stdout.split())
    return seen, present, converted


@pytest.mark.parametrize("images", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_part_with_nothing_to_do_pays_for_its_own_images(made, tmp_path, images):
    parts = 100 if images > 1000 else 20
    big = grown(made, tmp_path / "big", images, parts)
    seen, present, converted = cost(made / "in", big, parts)
    assert (present, converted) == (images // parts, 0)
    assert seen <= 10 * present + 200


@pytest.mark.slow
def test_a_part_of_a_hundred_thousand_images_is_quick_and_small(made, tmp_path):
    cohort = grown(made, tmp_path / "big", 100_000, 1000)
    code = (
        "import re, sys, time; from voxarray.cohort.run.build import ExecutionOptions, build; "
        "began = time.process_time(); "
        "made = build(sys.argv[1], sys.argv[2], run=ExecutionOptions(partition=(1, 1000))); "
        "print(made.present, time.process_time() - began, "
        "int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) >> 10)"
    )
    command = [sys.executable, "-c", code, str(made / "in"), str(cohort)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    present, seconds, mebibytes = done.stdout.split()
    assert int(present) == 100
    assert float(seconds) < 2
    assert int(mebibytes) <= 200


# --- What a part says -----------------------------------------------------------------------------


def test_a_part_with_other_options_names_the_plan_and_the_options(made):
    with pytest.raises(FormatError, match=r"plan\.json was planned with other .*--codec") as caught:
        vx.convert_cohort(made / "in", made / "out", partition=(1, 2), codec="raw", progress=False)
    assert caught.value.code == "OTHER_OPTIONS"


def test_a_part_of_other_patterns_is_refused(tmp_path):
    for name in ("a_t1", "a_t2"):
        save(tmp_path / f"in/{name}.nii")
    places = (tmp_path / "in", tmp_path / "out")
    same = ("--image-pattern", "t1=*_t1.nii")
    assert run("plan", *places, *same).exit_code == 0
    part = ("convert", *places, "--partition", "1/1")
    refused = run(*part, "--image-pattern", "t2=*_t2.nii")
    assert refused.exit_code == 1
    assert "OTHER_OPTIONS" in refused.stderr
    assert "--image-pattern" in refused.stderr
    assert not list((tmp_path / "out").glob("subjects/*"))
    assert run(*part, *same).exit_code == 0
    assert run(*part).exit_code == 0  # that of the plan counts
    assert "*_t1" not in (tmp_path / "out/plan.json").read_text()


def test_a_part_of_other_columns_is_not_told_to_leave_them_out(tmp_path):
    """Without its columns, a table cannot be read."""
    save(tmp_path / "a.nii")
    (tmp_path / "table.csv").write_text("id,t1,t2\na,a.nii,a.nii\n")
    places = (tmp_path / "table.csv", tmp_path / "out")
    same = ("--subject-column", "id", "--image-column", "t1")
    assert run("plan", *places, *same).exit_code == 0
    part = ("convert", *places, "--partition", "1/1")
    refused = run(*part, "--subject-column", "id", "--image-column", "t2")
    assert "OTHER_OPTIONS" in refused.stderr
    assert "pass the same ones" in refused.stderr
    assert "leave them out" not in refused.stderr
    assert run(*part, *same).exit_code == 0
    assert "patterns or columns" in " ".join(run("convert", "--help").output.split())


def test_a_part_names_what_failed_and_does_not_try_it_again(tmp_path):
    save(tmp_path / "in/good.nii", 1)
    (tmp_path / "in/bad.nii").write_bytes(b"\x1f" * 400)
    save(tmp_path / "in/cut.nii.gz", 2)
    data = (tmp_path / "in/cut.nii.gz").read_bytes()
    (tmp_path / "in/cut.nii.gz").write_bytes(data[: len(data) // 2])  # its header is whole
    assert run("plan", tmp_path / "in", tmp_path / "out").exit_code in (0, 3)
    first = build(tmp_path / "in", tmp_path / "out", run=ExecutionOptions(partition=(1, 1)))
    assert (first.converted, first.failed, first.summary) == (1, 2, None)
    assert sorted(one.file for one in first.failures) == ["bad.nii", "cut.nii.gz"]
    journals = len(list((tmp_path / "out/journal").glob("*.jsonl")))
    told = run("convert", tmp_path / "in", tmp_path / "out", "--partition", "1/1")
    assert told.exit_code == 3
    assert "cut.nii.gz: TRUNCATED" in told.stderr
    assert "report.txt" not in told.stderr  # there is none before finalise
    assert str(tmp_path / "out/journal") in told.stderr
    assert len(list((tmp_path / "out/journal").glob("*.jsonl"))) == journals  # nothing was tried
    again = build(
        tmp_path / "in", tmp_path / "out", run=ExecutionOptions(partition=(1, 1), retry=True)
    )
    assert (again.failed, again.present) == (2, 1)
    assert len(list((tmp_path / "out/journal").glob("*.jsonl"))) > journals


# --- Parts of transformed cohorts -----------------------------------------------------------------


@pytest.fixture
def cohort(tmp_path) -> vx.Cohort:
    for number in range(6):
        save(tmp_path / f"in/{number}.nii.gz", number)
    build(tmp_path / "in", tmp_path / "cohort")
    return vx.Cohort(tmp_path / "cohort")


def test_parts_of_a_transformed_cohort_return_what_they_did(cohort, tmp_path):
    mapped = cohort.map(vx.ToCanonical())
    mapped.save(tmp_path / "whole")
    assert "6 images" in mapped.plan(tmp_path / "parts")
    for number in (2, 1, 3):
        made = mapped.save(tmp_path / "parts", partition=(number, 3))
        assert (made.converted, made.present, made.failed, made.summary) == (2, 0, 0, None)
    assert mapped.save(tmp_path / "parts", partition=(1, 3)).present == 2
    assert run("finalise", tmp_path / "parts").exit_code == 0
    assert truth(tmp_path / "parts") == truth(tmp_path / "whole")


def test_parts_of_a_transformed_cohort_need_no_plan_before(cohort, tmp_path):
    for number in (1, 2):
        made = cohort.map(vx.ToCanonical()).save(tmp_path / "parts", partition=(number, 2))
        assert made.converted == 3
    assert len(list(CohortLayout.of(tmp_path / "parts").archives())) == 6


def test_parts_of_another_transform_are_refused(cohort, tmp_path):
    cohort.map(vx.ToCanonical()).plan(tmp_path / "parts")
    with pytest.raises(FormatError) as caught:
        cohort.map(vx.Blur(2)).save(tmp_path / "parts", partition=(1, 2))
    assert caught.value.code == "STALE_PLAN"
    cohort.map(vx.Blur(2)).plan(tmp_path / "parts")
    assert cohort.map(vx.Blur(2)).save(tmp_path / "parts", partition=(1, 2)).converted == 3
    with pytest.raises(FormatError) as caught:
        cohort.map(vx.Blur(2)).save(tmp_path / "parts", partition=(1, 2), codec="raw")
    assert caught.value.code == "STALE_PLAN"


def test_a_part_transforms_its_own_subjects_only(cohort, tmp_path):
    mapped = cohort.map(vx.ToCanonical())
    mapped.plan(tmp_path / "parts")
    plan = Plan.read(CohortLayout.of(tmp_path / "parts").plan)
    own = {item.subject for item in plan.part(1, 3)}
    for name in cohort.names:
        if name not in own:
            for part in cohort.member(name).parts:
                shutil.rmtree(tmp_path / "cohort" / part.archive)
    assert mapped.save(tmp_path / "parts", partition=(1, 3)).converted == 2


def test_a_part_that_fails_names_file_and_code(cohort, tmp_path):
    def fail(subject: vx.Subject) -> vx.Subject:
        raise ValueError("no")

    with pytest.raises(VoxarrayError) as caught:
        cohort.map(fail).save(tmp_path / "parts", partition=(1, 3))
    assert caught.value.code == "SOME_FAILED"
    assert "2 images failed" in str(caught.value)
    assert "report.txt" not in str(caught.value)
