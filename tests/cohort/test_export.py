"""Cohorts as files of other formats, and as other cohorts: names, label maps and metadata stay."""

from __future__ import annotations

import json
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import nibabel as nib
import numpy as np
import pytest
from cohort_samples import AFFINE, archives, array, run, save, tree

import voxarray as vx
from voxarray.cohort.export import export
from voxarray.cohort.run import dask_client
from voxarray.cohort.run.build import ExecutionOptions


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Three subjects, one of them in a folder, with label maps and an age."""
    folder = tmp_path_factory.mktemp("cohort")
    names = ["a", "b", "site/c"]
    lines = ["subject,t1,seg,age"]
    for number, name in enumerate(names):
        save(folder / f"in/{name}_t1.nii.gz", number)
        mask = (array(number) > 100).astype(np.uint8)
        nib.save(nib.Nifti1Image(mask, AFFINE), folder / f"in/{name}_seg.nii.gz")
        lines.append(f"{name},{name}_t1.nii.gz,{name}_seg.nii.gz,{30 + number}")
    (folder / "in/list.csv").write_text("\n".join(lines))
    vx.convert_cohort(
        folder / "in/list.csv",
        folder / "out",
        image_columns=["t1"],
        label_columns=["seg"],
        keep_metadata=["age"],
        progress=False,
    )
    return folder / "out"


NAMES = {f"{name}/{image}.nii.gz" for name in ("a", "b", "site/c") for image in ("t1", "seg")}


def test_every_image_and_label_map_becomes_a_file_that_nibabel_reads(cohort, tmp_path):
    done = run("convert", cohort, tmp_path / "n", "--suffix", "nii.gz", "--json")
    assert (json.loads(done.stdout)["converted"], done.exit_code) == (6, 0)
    assert set(tree(tmp_path / "n")) == NAMES
    for number, name in enumerate(["a", "b", "site/c"]):
        t1, seg = (nib.load(tmp_path / f"n/{name}/{image}.nii.gz") for image in ("t1", "seg"))
        assert (np.asarray(t1.dataobj) == array(number)).all()
        assert (np.asarray(seg.dataobj) == (array(number) > 100)).all()
        assert np.allclose(t1.affine, AFFINE)
        assert np.allclose(seg.affine, AFFINE)
        assert t1.get_data_dtype() == np.int16


def test_python_writes_the_same_and_a_query_writes_a_part(cohort, tmp_path):
    run("convert", cohort, tmp_path / "n", "--suffix", ".nii")
    opened = vx.Cohort(cohort)
    done = opened.save(tmp_path / "p", suffix=".nii", progress=False)
    assert done.converted == 6
    assert tree(tmp_path / "p") == tree(tmp_path / "n")
    part = opened.query("subject == 'b'").save(tmp_path / "b", suffix=".nii", progress=False)
    assert part.converted == 2
    assert set(tree(tmp_path / "b")) == {"b/t1.nii", "b/seg.nii"}
    told = run("convert", cohort, tmp_path / "q", "--suffix", ".nii", "--query", "age > 30")
    assert (told.exit_code, sorted({*tree(tmp_path / "q")})) == (
        0,
        sorted(f"{name}/{image}.nii" for name in ("b", "site/c") for image in ("t1", "seg")),
    )


def test_a_query_of_a_command_chooses_what_another_cohort_holds(cohort, tmp_path):
    told = run("convert", cohort, tmp_path / "part", "--query", "age > 30 and subject != 'b'")
    assert told.exit_code == 0, told.output
    part = vx.Cohort(tmp_path / "part")
    assert (part.names, list(part.table["age"])) == (["site/c"], ["32"])


@pytest.mark.parametrize(
    ("destination", "query", "said"),
    [
        ("out", "age > 30", "--query chooses among the images of a cohort, but"),
        ("out.nii", "age > 30", "out.nii names one file, for which --query would have no effect"),
    ],
)
def test_a_query_of_what_is_no_cohort_is_refused(tmp_path, destination, query, said):
    save(tmp_path / "in/a.nii")
    told = run("convert", tmp_path / "in", tmp_path / destination, "--query", query)
    assert (told.exit_code, said in told.output) == (2, True), told.output
    assert not (tmp_path / destination).exists()


@pytest.mark.parametrize("suffix", [(), ("--suffix", ".nii")])
def test_a_query_that_chooses_nothing_makes_nothing(cohort, tmp_path, suffix):
    told = run("convert", cohort, tmp_path / "q", *suffix, "--query", "age > 99")
    assert (told.exit_code, "NOTHING_FOUND" in told.output) == (1, True), told.output
    told = run("convert", cohort, tmp_path / "q", *suffix, "--query", "weight > 99")
    assert (told.exit_code, "weight" in told.output) == (2, True), told.output
    assert not (tmp_path / "q").exists()


def test_what_is_the_same_is_up_to_date_and_what_differs_is_never_replaced_unasked(
    cohort, tmp_path
):
    opened = vx.Cohort(cohort)
    opened.save(tmp_path / "n", suffix=".nii.gz", progress=False)
    (tmp_path / "n/a/t1.nii.gz").unlink()
    other = (tmp_path / "n/b/seg.nii.gz").read_bytes()
    (tmp_path / "n/site/c/seg.nii.gz").write_bytes(other)
    (tmp_path / "n/b/t1.nii.gz").write_bytes(b"cut short")
    done = run("convert", cohort, tmp_path / "n", "--suffix", ".nii.gz", "--json")
    told = json.loads(done.stdout)
    assert (told["converted"], told["up_to_date"], told["failed"]) == (1, 3, 2)
    assert {one["code"] for one in told["failures"]} == {"EXISTS"}
    assert done.exit_code == 3
    assert (tmp_path / "n/site/c/seg.nii.gz").read_bytes() == other
    with pytest.raises(vx.VoxarrayError, match="2 images failed") as caught:
        opened.save(tmp_path / "n", suffix=".nii.gz", progress=False)
    assert caught.value.code == "SOME_FAILED"
    opened.save(tmp_path / "n", suffix=".nii.gz", overwrite=True, progress=False)
    again = opened.save(tmp_path / "n", suffix=".nii.gz", progress=False)
    assert (again.converted, again.present) == (0, 6)


def test_a_file_at_another_place_or_of_another_shape_is_not_up_to_date(cohort, tmp_path):
    opened = vx.Cohort(cohort).query("subject == 'a'")
    moved = AFFINE + np.eye(4, k=3)
    (tmp_path / "n/a").mkdir(parents=True)
    nib.save(nib.Nifti1Image(array(0), moved), tmp_path / "n/a/t1.nii")
    nib.save(nib.Nifti1Image(array(0)[:5], AFFINE), tmp_path / "n/a/seg.nii")
    with pytest.raises(vx.VoxarrayError, match="2 images failed") as caught:
        opened.save(tmp_path / "n", suffix=".nii", progress=False)
    assert "its affine is different" in str(caught.value)
    assert "another image, of shape (1, 5, 10, 8)" in str(caught.value)


def test_a_damaged_archive_fails_by_name_and_the_rest_is_written(cohort, tmp_path):
    import shutil

    copy = tmp_path / "cohort"
    shutil.copytree(cohort, copy)
    victim = next(one for one in archives(copy) if one.name.startswith("b_"))
    for shard in [f for f in (victim / "scale0/image").rglob("*") if f.name != "zarr.json"]:
        if shard.is_file():
            shard.write_bytes(shard.read_bytes()[:-40] + bytes(40))
    done = run("convert", copy, tmp_path / "n", "--suffix", ".nii.gz")
    assert done.exit_code == 3
    assert "5 converted, 0 up to date, 1 failed" in done.stdout
    assert set(tree(tmp_path / "n")) == NAMES - {"b/t1.nii.gz"}
    assert victim.name in done.stderr


def test_parts_and_executors_write_what_one_process_writes(cohort, tmp_path):
    opened = vx.Cohort(cohort)
    opened.save(tmp_path / "one", suffix=".nii", progress=False)
    for number in (1, 2):
        run("convert", cohort, tmp_path / "parts", "--suffix", ".nii", "--partition", f"{number}/2")
    with ThreadPoolExecutor(2) as threads:
        opened.save(tmp_path / "threads", suffix=".nii", executor=threads, progress=False)
    assert tree(tmp_path / "one") == tree(tmp_path / "parts") == tree(tmp_path / "threads")


class _LosesOne(ThreadPoolExecutor):
    """Of one task nothing comes back."""

    def submit(self, function, /, *given):
        if given[1].item.slug[:4] != "b_t1":
            return super().submit(function, *given)
        lost = Future()
        lost.set_exception(BrokenProcessPool("died"))
        return lost


def test_a_worker_that_dies_is_named_and_the_others_go_on(cohort, tmp_path):
    opened = vx.Cohort(cohort)
    with (
        _LosesOne(1) as pool,
        pytest.raises(vx.VoxarrayError, match="b: t1: WORKER_LOST") as caught,
    ):
        opened.save(tmp_path / "n", suffix=".nii", executor=pool, progress=False)
    assert caught.value.code == "SOME_FAILED"
    assert set(tree(tmp_path / "n")) == {name[:-3] for name in NAMES - {"b/t1.nii.gz"}}
    with pytest.raises(vx.VoxarrayError, match="EXECUTOR_LOST") as refused:
        opened.save(tmp_path / "n", suffix=".nii", executor=pool, progress=False)
    assert refused.value.code == "EXECUTOR_LOST"  # the cause itself: no image is to blame


def test_what_workers_finish_after_a_stop_is_counted(cohort, tmp_path):
    class Here(Executor):
        def submit(self, function, /, *given):
            future = Future()
            future.set_result(function(*given))
            return future

    for name in ("a", "b", "site/c"):
        (tmp_path / f"n/{name}").mkdir(parents=True)
        (tmp_path / f"n/{name}/t1.nii").write_bytes(b"something else")
    opened = vx.Cohort(cohort)
    how = ExecutionOptions(max_failures=1, executor=Here())
    made = export([opened.member(one) for one in opened.names], tmp_path / "n", ".nii", how, False)
    assert (made.converted, made.failed, made.remaining) == (3, 3, 0)
    assert "max-failures" in made.interrupted_by


def test_a_cohort_that_is_none_of_which_files_are_made_says_why(cohort, tmp_path):
    import shutil

    def refused(*sources):
        done = run("convert", *sources, tmp_path / "n", "--suffix", ".nii")
        assert done.exit_code == 2
        assert not (tmp_path / "n").exists()
        return " ".join(done.stderr.split())

    copy = tmp_path / "cohort"
    shutil.copytree(cohort, copy)
    other = save(tmp_path / "cohort/new/b.nii")
    assert f"{copy} holds images outside of the cohort's archives, such as {other}" in refused(copy)
    assert f"there are 2 sources: give only the cohort {copy}" in refused(copy, other)
    assert f"is a part of the cohort {copy}: give the folder {copy}" in refused(copy / "subjects")
    other.unlink()
    (copy / "catalogue.parquet").unlink()
    assert f"{copy} has no catalogue yet: run voxarray finalise" in refused(copy)


@pytest.mark.parametrize(("suffix", "shape"), [(".tif", (9, 8, 7)), (".png", (9, 8, 1))])
def test_files_that_hold_no_place_are_up_to_date_all_the_same(tmp_path, suffix, shape):
    voxels = np.random.default_rng(0).integers(0, 200, shape).astype(np.uint8)
    (tmp_path / "in").mkdir()
    nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / "in/a.nii")
    vx.convert_cohort(tmp_path / "in", tmp_path / "out", progress=False)
    opened = vx.Cohort(tmp_path / "out")
    with pytest.warns(vx.VoxarrayWarning, match="GEOMETRY_LOST"):
        assert opened.save(tmp_path / "p", suffix=suffix, progress=False).converted == 1
    again = opened.save(tmp_path / "p", suffix=suffix, progress=False)
    assert (again.converted, again.present) == (0, 1)
    other = AFFINE @ np.diag([2, 1, 1, 1])
    nib.save(nib.Nifti1Image(voxels, other), tmp_path / "in/a.nii")
    vx.convert_cohort(tmp_path / "in", tmp_path / "out", progress=False)
    opened = vx.Cohort(tmp_path / "out")
    if suffix == ".png":  # which holds no spacing either
        assert opened.save(tmp_path / "p", suffix=suffix, progress=False).present == 1
        return
    with pytest.raises(vx.VoxarrayError, match="its affine is different"):
        opened.save(tmp_path / "p", suffix=suffix, progress=False)


def test_a_scheduler_that_does_not_answer_is_named_and_nothing_written(
    cohort, tmp_path, monkeypatch
):
    monkeypatch.setattr(dask_client, "_PATIENCE", "1 s")
    done = run(
        "convert", cohort, tmp_path / "n", "--suffix", ".nii", "--scheduler", "tcp://127.0.0.1:1"
    )
    assert "NO_SCHEDULER" in done.stderr
    assert done.exit_code == 1
    assert not (tmp_path / "n").exists()


def test_what_no_worker_may_hold_is_written_at_the_end_by_this_process(cohort, tmp_path):
    """Two processes share a budget: what exceeds the half of one comes last, and here."""
    import dask.config

    from voxarray.cohort.run.in_process import InProcess

    class Two(Executor):
        def __init__(self):
            self._processes, self._max_workers = {}, 2  # as `concurrent.futures` has them
            self.given = []

        def submit(self, function, /, *given):
            self.given.append(given[1].item.image)
            future = Future()
            future.set_result(function(*given))
            return future

    here = []
    original = InProcess.run

    def run_here(self, job, begin):
        here.extend(item.image for item in job.items)
        return original(self, job, begin)

    opened = vx.Cohort(cohort)
    peaks = {item.image: item.header.peak for item in items_of_all(opened, tmp_path)}
    assert peaks["seg"] < peaks["t1"]
    budget = peaks["seg"] + peaks["t1"]  # a half holds a label map alone
    pool = Two()
    with (
        pytest.MonkeyPatch.context() as patch,
        dask.config.set({"voxarray.memory-budget": budget}),
    ):
        patch.setattr(InProcess, "run", run_here)
        done = opened.save(tmp_path / "n", suffix=".nii.gz", executor=pool, progress=False)
    assert done.converted == 6
    assert sorted(pool.given) == ["seg"] * 3
    assert here == ["t1"] * 3


def items_of_all(opened, root):
    from voxarray.cohort.exported_files import MemberOpener, items_of

    return [
        item
        for name in opened.names
        for item in items_of(MemberOpener(opened.member(name)), str(root), ".nii.gz", {})
    ]


@pytest.mark.slow
def test_processes_and_schedulers_write_what_one_process_writes(cohort, tmp_path):
    from distributed import LocalCluster

    opened = vx.Cohort(cohort)
    opened.save(tmp_path / "one", suffix=".nii", progress=False)
    opened.save(tmp_path / "two", suffix=".nii", workers=2, progress=False)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    with LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        done = opened.save(tmp_path / "three", suffix=".nii", scheduler=address, progress=False)
        assert done.converted == 6
        again = opened.save(tmp_path / "three", suffix=".nii", scheduler=address, progress=False)
        assert again.present == 6
    assert tree(tmp_path / "one") == tree(tmp_path / "three")


def test_it_stops_after_so_many_failures(cohort, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"n/{name}").mkdir(parents=True)
        (tmp_path / f"n/{name}/t1.nii").write_bytes(b"something else")
    done = run("convert", cohort, tmp_path / "n", "--suffix", ".nii", "--max-failures", 1, "--json")
    told = json.loads(done.stdout)
    # Two are under way at once: the second fails before or after the first one stops the run.
    assert told["failed"] in (1, 2)
    assert told["failed"] + told["remaining"] == 6
    assert "max-failures" in told["stopped"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--suffix", "ome.zarr"), "UNKNOWN_SUFFIX"),
        (("--suffix", "docx"), "UNKNOWN_SUFFIX"),
        (("--suffix", ".nii", "--codec", "fast"), "no effect"),
        (("--suffix", ".nii", "--keep-metadata", "age"), "no effect"),
        (("--suffix", ".nii", "--retry"), "no effect"),
        (("--label-pattern", "*_seg.nii"), "no effect"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    cohort, tmp_path, arguments, code
):
    done = run("convert", cohort, tmp_path / "n", *arguments)
    assert done.exit_code in (1, 2)
    assert code in done.stderr
    assert not (tmp_path / "n").exists()


def test_files_go_neither_into_a_cohort_nor_come_from_mere_files(cohort, tmp_path):
    with pytest.raises(vx.FormatError) as caught:
        vx.Cohort(cohort).save(cohort, suffix=".nii")
    assert caught.value.code == "OTHER_FORM"
    for inside in ("files", "subjects/files"):
        assert "OTHER_FORM" in run("convert", cohort, cohort / inside, "--suffix", ".nii").stderr
        assert not (cohort / inside).exists()
    (tmp_path / "link").symlink_to(cohort / "subjects")
    assert "OTHER_FORM" in run("convert", cohort, tmp_path / "link/n", "--suffix", ".nii").stderr
    assert not (cohort / "subjects/n").exists()
    (tmp_path / "file").touch()
    for below in ("file", "file/below"):
        done = run("convert", cohort, tmp_path / below, "--suffix", ".nii")
        assert f"OTHER_FORM: {tmp_path / 'file'} is not a folder" in done.stderr
    done = run("convert", save(tmp_path / "a.nii"), tmp_path / "n", "--suffix", ".nii.gz")
    assert done.exit_code == 2
    assert "a.nii is not a cohort: to convert one image" in " ".join(done.stderr.split())
    with pytest.raises(vx.UnsupportedError) as caught:
        vx.Cohort(cohort).save(tmp_path / "n", suffix=".nii", levels=2)
    assert caught.value.code == "UNUSED_KEYWORD"


def test_a_subject_whose_name_leads_elsewhere_writes_nothing_there(tmp_path):
    save(tmp_path / "in/a.nii")
    (tmp_path / "in/list.csv").write_text("subject,image\n../outside,a.nii\n")
    vx.convert_cohort(tmp_path / "in/list.csv", tmp_path / "out", progress=False)
    done = run("convert", tmp_path / "out", tmp_path / "deep/n", "--suffix", ".nii", "--json")
    (failure,) = json.loads(done.stdout)["failures"]
    assert failure["code"] == "BAD_NAME"
    assert not (tmp_path / "deep").exists()


def test_what_a_format_loses_is_told_once_with_the_images_that_lose_it(tmp_path):
    for number in range(2):
        save(tmp_path / f"in/{number}.nii", number, shape=(9, 8, 1))
    vx.convert_cohort(tmp_path / "in", tmp_path / "out", progress=False)
    with pytest.warns(vx.VoxarrayWarning) as told:
        vx.Cohort(tmp_path / "out").save(tmp_path / "p", suffix=".bmp", progress=False)
    (lost,) = [str(one.message) for one in told if "GEOMETRY_LOST" in str(one.message)]
    assert lost.endswith("(0: image and 1 more)")


def test_names_of_labels_that_files_do_not_hold_are_told_once(tmp_path):
    for number in range(2):
        save(tmp_path / f"in/{number}.nii", number)
    vx.convert_cohort(tmp_path / "in", tmp_path / "out", progress=False)
    mask = vx.LabelMap(tensor=np.ones((1, *array(0).shape), np.uint8), affine=AFFINE)
    for path in archives(tmp_path / "out"):
        vx.Archive(path).add_labels("tissues", mask, names={1: "white matter"})
    with pytest.warns(vx.VoxarrayWarning, match="'white matter' for label 1") as told:
        vx.Cohort(tmp_path / "out").save(tmp_path / "n", suffix=".nii", progress=False)
    assert [str(one.message).split(":")[0] for one in told] == ["LABEL_NAMES_LOST"]
    assert str(told[0].message).endswith("(0: tissues and 1 more)")


# --- Another cohort -------------------------------------------------------------------------------


def test_a_cohort_is_converted_to_one_of_the_same_subjects_label_maps_and_metadata(
    cohort, tmp_path
):
    done = run("convert", cohort, tmp_path / "again", "--codec", "training", "--json")
    assert json.loads(done.stdout)["converted"] == 3
    columns = ["subject", "image", "age", "dtype"]
    one, other = vx.Cohort(cohort), vx.Cohort(tmp_path / "again")
    assert one.table[columns].equals(other.table[columns])
    assert [list(labels) for labels in other.table.labels] == [["seg"]] * 3
    assert (other["site/c"].seg.numpy() == one["site/c"].seg.numpy()).all()
    same = run("convert", cohort, tmp_path / "again", "--codec", "training")
    assert "0 converted, 3 up to date" in same.stdout
    part = one.query("subject == 'a'").save(tmp_path / "part", progress=False)
    assert part.names == ["a"]


def test_a_cohort_is_no_source_where_its_names_would_be_lost(cohort, tmp_path):
    with pytest.raises(vx.FormatError) as caught:
        vx.convert_cohort(cohort, tmp_path / "again")
    assert caught.value.code == "IS_COHORT"
    assert run("plan", cohort, tmp_path / "again").exit_code == 1
    assert not (tmp_path / "again").exists()


def test_a_cohort_among_other_sources_is_not_left_out(cohort, tmp_path):
    """Its archives are no scans, so that only the scans of the other folder were converted."""
    save(tmp_path / "more/d.nii", 7)
    for sources in ([cohort, tmp_path / "more"], [tmp_path / "more", cohort], [cohort, cohort]):
        done = run("convert", *sources, tmp_path / "all")
        assert done.exit_code == 1
        assert f"IS_COHORT: {cohort} is a cohort" in done.stderr
        assert "alone" in done.stderr
        assert not (tmp_path / "all").exists()


def test_scans_beside_a_cohort_are_sources_among_others(tmp_path):
    for name in ("one", "other"):
        save(tmp_path / name / f"{name}.nii", 7)
    assert run("convert", tmp_path / "one", tmp_path / "one").exit_code == 0
    done = run("convert", tmp_path / "one", tmp_path / "other", tmp_path / "all")
    assert "2 converted" in done.stdout


def test_the_folder_of_archives_names_the_cohort_that_it_belongs_to(cohort, tmp_path):
    done = run("convert", cohort / "subjects", tmp_path / "again")
    assert done.exit_code == 1
    assert f"NOTHING_FOUND: nothing to do: no image was found in {cohort / 'subjects'}" in (
        done.stderr
    )
    assert (
        f"; {cohort / 'subjects'} is a part of the cohort {cohort}: give the folder {cohort}"
        in done.stderr
    )


# --- What was kept --------------------------------------------------------------------------------


def test_kept_columns_are_chosen_printed_and_compared_as_numbers(cohort):
    told = run("catalogue", cohort, "--columns", "subject, age", "--query", "age > 30")
    assert [line.split() for line in told.stdout.splitlines()] == [
        ["subject", "age"],
        ["b", "31"],
        ["site/c", "32"],
    ]
    as_csv = run("catalogue", cohort, "--columns", "age,subject", "--csv").stdout
    assert as_csv.splitlines()[:2] == ["age,subject", "30,a"]
    refused = run("catalogue", cohort, "--columns", "subject,weight")
    assert refused.exit_code == 2
    assert "there is no column weight; the columns are status" in refused.stderr
