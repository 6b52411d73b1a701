"""Cohorts in a bucket: made, resumed, verified, read; prefixes as sources."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from contextlib import nullcontext
from types import SimpleNamespace

import dask.config
import numpy as np
import pytest
from click.testing import CliRunner

import voxarray as vx
from voxarray.cli import main
from voxarray.cohort.catalogue import finalise as finalise_module
from voxarray.cohort.catalogue.journal import lines
from voxarray.cohort.catalogue.replaced_catalogue import replace_catalogue
from voxarray.cohort.discover.census import Census
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import ArchiveOptions, InputSelection
from voxarray.cohort.run import batches, task, throttle
from voxarray.cohort.run import build as build_module
from voxarray.cohort.run.batches import Batch, convert_batch
from voxarray.cohort.run.build import discover_inputs
from voxarray.core.errors import (
    ArchiveError,
    ArchiveExistsError,
    MissingFileError,
    TransportError,
    VoxarrayError,
)
from voxarray.storage.remote import objects
from voxarray.storage.small_files import write_if_other

COUNT = 4


def image_of(seed):
    voxels = np.random.default_rng(seed).integers(1, 900, (1, 12, 11, 10)).astype("i2")
    return vx.ScalarImage(tensor=voxels, affine=np.diag([2.0, 1.5, 3, 1]))


@pytest.fixture(scope="module")
def scans_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    for number in range(COUNT):
        image_of(number).save(folder / f"sub-{number}.nii.gz")
    return folder


@pytest.fixture
def cohort(bucket):
    return f"{bucket.url}/study/cohort"


def facts(table):
    return table.drop(columns=["labels"]).to_dict("records")


def test_a_cohort_in_a_bucket_equals_a_local_one(bucket, cohort, scans_of, tmp_path):
    before = set(os.listdir())
    made = vx.convert_cohort(scans_of, cohort)
    assert (made.converted, made.failed, made.remaining) == (COUNT, 0, 0)
    vx.convert_cohort(scans_of, tmp_path / "cohort")
    here, there = vx.Cohort(tmp_path / "cohort"), vx.Cohort(cohort)
    assert facts(here.table) == facts(there.table)
    assert there.names == here.names
    for name in there.names:
        np.testing.assert_array_equal(there[name]["image"].numpy(), here[name]["image"].numpy())
    ours = {key for key in bucket.listed("study/cohort/") if "/journal/" not in key}
    local = {
        f"study/{file.relative_to(tmp_path).as_posix()}"
        for file in (tmp_path / "cohort").rglob("*")
        if file.is_file() and "journal" not in file.parts
    }
    assert ours == local
    assert set(os.listdir()) == before
    events = there.log(there.names[0])
    assert [event["status"] for event in events] == ["begun", "converted"]


def test_archives_that_are_up_to_date_are_not_converted_again(bucket, cohort, scans_of):
    vx.convert_cohort(scans_of, cohort)
    first = {key: bucket.get(key) for key in bucket.listed()}
    again = vx.convert_cohort(scans_of, cohort)
    assert (again.converted, again.present) == (0, COUNT)
    assert {key: bucket.get(key) for key in bucket.listed()} == first
    one = next(key for key in first if "subjects/sub-2" in key and key.endswith("manifest.json"))
    bucket.delete(one)
    assert len(list(CohortLayout.of(cohort).archives())) == COUNT - 1
    resumed = vx.convert_cohort(scans_of, cohort)
    assert (resumed.converted, resumed.present) == (1, COUNT - 1)
    assert bucket.get(one) == first[one]


def test_what_is_added_between_two_looks_stays(cohort, scans_of, tmp_path, monkeypatch):
    """After the first look, and before the manifest is read that the new one may replace."""
    scan = tmp_path / "in/sub-0.nii.gz"
    scan.parent.mkdir()
    shutil.copy(scans_of / scan.name, scan)
    vx.convert_cohort(scan.parent, cohort)
    [url] = CohortLayout.of(cohort).archives()
    image_of(7).save(scan, overwrite=True)
    look = task.refuse_to_lose

    def first_look(path):
        look(path)
        if not vx.Archive(url).notes:
            vx.Archive(url).add_notes(quality="good")
            objects.forget()

    monkeypatch.setattr(task, "refuse_to_lose", first_look)
    again = vx.convert_cohort(scan.parent, cohort)
    assert [one.code for one in again.failures] == ["CONTENT_ADDED"]
    assert vx.Archive(url).notes == {"quality": "good"}


def test_a_touched_source_is_known_again(cohort, scans_of, tmp_path):
    scan = tmp_path / "in/sub-0.nii.gz"
    scan.parent.mkdir()
    shutil.copy(scans_of / scan.name, scan)
    vx.convert_cohort(scan.parent, cohort)
    [url] = CohortLayout.of(cohort).archives()
    vx.Archive(url).add_notes(quality="good")
    os.utime(scan, ns=(1, 1))
    again = vx.convert_cohort(scan.parent, cohort)
    assert (again.converted, again.present, again.failed) == (0, 1, 0)
    assert vx.Archive(url).notes == {"quality": "good"}
    assert vx.Cohort(cohort).names == ["sub-0"]
    image_of(7).save(scan, overwrite=True)
    again = vx.convert_cohort(scan.parent, cohort)
    assert [one.code for one in again.failures] == ["CONTENT_ADDED"]


def test_partitions(cohort, scans_of):
    runner = CliRunner()
    planned = runner.invoke(main, ["plan", str(scans_of), cohort])
    assert planned.exit_code == 0, planned.output
    for number in (1, 2):
        part = vx.convert_cohort(scans_of, cohort, partition=(number, 2))
        assert part.converted == COUNT // 2
    with pytest.raises(MissingFileError) as caught:
        vx.Cohort(cohort)
    assert caught.value.code == "NO_CATALOGUE"
    assert runner.invoke(main, ["finalise", cohort]).exit_code == 0
    assert len(vx.Cohort(cohort)) == COUNT


def test_commands(bucket, cohort, scans_of):
    runner = CliRunner()
    result = runner.invoke(main, ["convert", str(scans_of), cohort, "--workers", "0"])
    assert result.exit_code == 0, result.output
    for arguments in (["verify", cohort], ["verify", bucket.url], ["verify", "--quick", cohort]):
        result = runner.invoke(main, arguments)
        assert result.exit_code == 0, result.output
    table = runner.invoke(main, ["catalogue", cohort, "--csv"])
    assert table.output.count("done") == COUNT
    key = next(key for key in bucket.listed() if "/scale0/image/c/" in key)
    bucket.put(key, bucket.get(key)[:-1] + b"x")
    result = runner.invoke(main, ["verify", cohort])
    assert result.exit_code != 0
    assert key.split("/")[3] in result.output


def test_patches(cohort, scans_of):
    vx.convert_cohort(scans_of, cohort)
    patches = vx.Cohort(cohort).dataset(vx.patches.UniformSampler(4), 2)
    seen = [patches[number] for number in range(len(patches))]
    assert len(seen) == 2 * COUNT
    assert all(patch["image"]["data"].shape == (1, 4, 4, 4) for patch in seen)


def test_mapped(cohort, bucket, scans_of):
    vx.convert_cohort(scans_of, cohort)
    done = vx.Cohort(cohort).map(vx.ToCanonical()).save(f"{bucket.url}/mapped")
    assert len(done) == COUNT
    assert done.path == f"{bucket.url}/mapped"


def test_layers_of_predictions_by_the_command(cohort, scans_of, tmp_path):
    torch = pytest.importorskip("torch")
    model = str(tmp_path / "model.pt")
    torch.jit.script(torch.nn.Conv3d(1, 2, 1)).save(model)
    vx.convert_cohort(scans_of, cohort)
    command = ["infer", model, cohort, "--layer", "found", "--patch-size", "8"]
    result = CliRunner().invoke(main, [*command, "--partition", "1/2"])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert f"{COUNT} of {COUNT} subjects have the label map found" in result.output
    objects.forget()
    assert all("found" in vx.Archive(url).labels for url in CohortLayout.of(cohort).archives())
    assert [list(names) for names in vx.Cohort(cohort).table["labels"]] == [["found"]] * COUNT


def test_info_shows_what_is_below_a_prefix(bucket, cohort, scans_of):
    vx.convert_cohort(scans_of, cohort)
    told = CliRunner().invoke(main, ["info", cohort])
    assert told.exit_code == 0, told.output
    assert told.output.count("orientation") == COUNT
    image_of(0).save(f"{bucket.url}/study/scans/a/t1.nii.gz")
    told = CliRunner().invoke(main, ["info", f"{bucket.url}/study/scans/", f"{bucket.url}/none/"])
    assert told.output.startswith(f"{bucket.url}/study/scans/a/t1.nii.gz\n")
    assert (told.exit_code, told.stderr.count("NOT_FOUND")) == (3, 1)


def test_a_pattern_in_a_url_is_told(bucket, cohort, scans_of):
    failed = vx.convert_cohort(f"{bucket.url}/scans/*/t1.nii.gz", cohort)
    assert "pattern in a URL is not resolved" in failed.failures[0].message


def labels_of(image):
    return vx.LabelMap(tensor=(image.data > 400).byte(), affine=image.affine)


def in_catalogue(cohort):
    objects.forget()
    return [list(names) for names in vx.Cohort(cohort).table["labels"]]


def test_label_maps_that_come_and_go_are_in_the_catalogue(cohort, scans_of):
    vx.convert_cohort(scans_of, cohort)
    first = vx.Archive(next(iter(CohortLayout.of(cohort).archives())))
    first.add_labels("bright", labels_of(image_of(0)))
    assert in_catalogue(cohort) == [["bright"], [], [], []]
    assert vx.verify(cohort) == []
    first.remove_labels("bright")
    assert in_catalogue(cohort) == [[]] * COUNT


@pytest.mark.parametrize("name", ["image", "subject"])
def test_label_maps_do_not_take_the_name_of_an_image(cohort, scans_of, name):
    vx.convert_cohort(scans_of, cohort)
    first = vx.Archive(next(iter(CohortLayout.of(cohort).archives())))
    with pytest.raises(ArchiveExistsError, match="NAME_TAKEN"):
        first.add_labels(name, labels_of(image_of(0)))


def test_catalogues_of_two_processes_at_once_miss_nothing(cohort, scans_of, monkeypatch):
    """One reads the archives, the other adds a label map, and then the first writes."""
    vx.convert_cohort(scans_of, cohort)
    urls = list(CohortLayout.of(cohort).archives())
    last_failures, meanwhile = finalise_module.last_failures, iter(urls[:2])

    def slow(folder):
        found = last_failures(folder)
        for url in itertools.islice(meanwhile, 1):
            vx.Archive(url).add_labels("bright", labels_of(vx.ScalarImage(url)))
        return found

    monkeypatch.setattr(finalise_module, "last_failures", slow)
    assert finalise_module.finalise(cohort).done == COUNT
    assert in_catalogue(cohort) == [["bright"], ["bright"], [], []]


def test_a_catalogue_that_never_rests_is_given_up(cohort, scans_of):
    vx.convert_cohort(scans_of, cohort)
    layout = CohortLayout.of(cohort)
    numbers = itertools.count()

    def read():
        write_if_other(layout.catalogue, str(next(numbers)).encode())
        return b"mine"

    with pytest.raises(ArchiveError) as caught:
        replace_catalogue(layout, read, lambda data, put: put(layout.catalogue, data))
    assert caught.value.code == "BUSY"


def test_server_that_fails_while_asked_is_no_missing_archive(server, cohort, scans_of):
    vx.convert_cohort(scans_of, cohort)
    objects.forget()
    server.before = lambda request: setattr(
        server, "faults", ("busy",) if "subjects/sub-1" in request else ()
    )
    server.probability = 1.0
    try:
        with pytest.raises(VoxarrayError) as caught:
            vx.convert_cohort(scans_of, cohort)
        assert caught.value.code == "TRANSPORT"
    finally:
        server.before = lambda _: None
        server.faults = ()


def test_server_that_fails_after_another_process_was_quicker(cohort, scans_of, monkeypatch):
    """Whether its archive is the same cannot be known: that one image fails, and no other."""
    convert, is_made, late = task.convert, task.is_made, []

    def slower(source, archive, **options):
        made = convert(source, archive, **options)
        if "sub-1" in archive:
            late.append(archive)
            raise ArchiveExistsError("another process was quicker", path=archive)
        return made

    def silent(archive, item):
        if archive in late:
            raise TransportError("the store does not answer", path=archive)
        return is_made(archive, item)

    monkeypatch.setattr(task, "convert", slower)
    monkeypatch.setattr(task, "is_made", silent)
    made = vx.convert_cohort(scans_of, cohort)
    assert (made.converted, made.failed) == (COUNT - 1, 1)
    assert [one.code for one in made.failures] == ["TRANSPORT"]


def test_a_report_is_put_after_its_catalogue(server, bucket, cohort, scans_of):
    """Until then, another process may replace the catalogue, and put the right report."""
    early = []

    def before(request):
        if request.startswith("PUT") and request.endswith("catalogue.parquet"):
            time.sleep(0.5)
            early.extend(server.objects.beginning_with(f"{bucket.name}/study/cohort/report"))

    server.before = before
    try:
        vx.convert_cohort(scans_of, cohort)
    finally:
        server.before = lambda _: None
    assert early == []
    assert b"4 of 4 images" in bucket.get("study/cohort/report.txt")


def test_failed_images_are_reported(cohort, bucket, tmp_path):
    image_of(0).save(tmp_path / "a.nii.gz")
    (tmp_path / "b.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes()[:-20])
    made = vx.convert_cohort(tmp_path, cohort)
    assert (made.converted, made.failed) == (1, 1)
    assert b"1 of 2 images" in bucket.get("study/cohort/report.txt")
    assert {one["status"] for one in lines(f"{cohort}/journal")} >= {"converted"}
    assert len(vx.Cohort(cohort)) == 1


@pytest.mark.parametrize("end", ["", pytest.param("/", marks=pytest.mark.slow)])
def test_prefix_is_searched(bucket, scans_of, end):
    bucket.put_tree(scans_of, "scans/a")
    bucket.put("scans/readme.txt", b"x")
    bucket.put("scans/.hidden/x.nii.gz", b"x")
    bucket.put("scans/strange.xyz", b"x")
    image_of(9).save(f"{bucket.url}/scans/b/c.ome.zarr")
    made = vx.convert_cohort(f"{bucket.url}/scans{end}", f"{bucket.url}/made")
    assert (made.converted, made.failed) == (COUNT + 1, 0)
    assert made.census.unknown == ["strange.xyz"]
    cohort = vx.Cohort(f"{bucket.url}/made")
    assert cohort.names == sorted(["b/c", *(f"a/sub-{n}" for n in range(COUNT))])
    np.testing.assert_array_equal(cohort["a/sub-2"]["image"].numpy(), image_of(2).numpy())
    for other in (end, "/", ""):
        again = vx.convert_cohort(f"{bucket.url}/scans{other}", f"{bucket.url}/made")
        assert (again.converted, again.present) == (0, COUNT + 1)


def test_files_of_images_below_a_prefix_count_as_those_in_a_folder(bucket):
    for name in ("a_t1.nii", "b.hdr", "b.img", "c.mhd", "c.raw", *(f"d/{n}.dcm" for n in range(5))):
        bucket.put(f"scans/{name}", b"x")
    census = Census()
    found = discover_inputs(
        f"{bucket.url}/scans/",
        "nowhere",
        InputSelection((("t1", "*_t1.nii"),)),
        ArchiveOptions(),
        census,
    )
    assert [one.source for one in found] == ["a_t1.nii"]
    assert (census.seen, census.taken) == (10, 1)
    assert (sum(census.ignored.values()), sorted(census.misfits)) == (9, ["b.hdr", "c.mhd", "d"])


def test_prefix_names_are_those_of_a_folder(bucket, scans_of, tmp_path):
    (tmp_path / "bids/sub-1/anat").mkdir(parents=True)
    (tmp_path / "bids/dataset_description.json").write_text('{"Name": "x"}')
    (tmp_path / "bids/participants.tsv").write_text("participant_id\tage\nsub-1\t7\n")
    (tmp_path / "bids/.bidsignore").write_text("*_bold.nii.gz\n")
    for suffix in ("T1w", "bold"):
        image_of(1).save(tmp_path / f"bids/sub-1/anat/sub-1_{suffix}.nii.gz")
    bucket.put_tree(tmp_path / "bids", "bids")
    options = {"keep_metadata": ["age"]}
    vx.convert_cohort(f"{bucket.url}/bids", tmp_path / "remote", **options)
    vx.convert_cohort(tmp_path / "bids", tmp_path / "local", **options)
    remote, local = vx.Cohort(tmp_path / "remote"), vx.Cohort(tmp_path / "local")
    assert facts(remote.table) == facts(local.table)


def test_parts_of_a_prefix_do_not_list_it(server, bucket, cohort, scans_of):
    bucket.put_tree(scans_of, "scans")
    CliRunner().invoke(main, ["plan", f"{bucket.url}/scans", cohort])
    server.paths.clear()
    part = vx.convert_cohort(f"{bucket.url}/scans", cohort, partition=(1, 2))
    assert part.converted == COUNT // 2
    assert not any("prefix=scans" in path for path in server.paths)


def test_own_results_below_the_prefix_are_no_sources(bucket, scans_of):
    bucket.put_tree(scans_of, "scans")
    for _ in range(2):
        made = vx.convert_cohort(f"{bucket.url}/scans", f"{bucket.url}/scans/out")
        assert made.converted + made.present == COUNT
    with pytest.raises(vx.FormatError) as caught:
        vx.convert_cohort(f"{bucket.url}/scans/out", f"{bucket.url}/b")
    assert caught.value.code == "IS_COHORT"


def test_series_of_dicom_files_fails_as_one_image(bucket, tmp_path):
    for number in range(3):
        bucket.put(f"dicom/{number}.dcm", b"x")
    made = vx.convert_cohort(f"{bucket.url}/dicom", tmp_path / "cohort")
    assert [failure.code for failure in made.failures] == ["REMOTE_FOLDER"]


class InAWorker:
    """An engine that gives all images to one worker, as one batch."""

    def run(self, job, _):
        tasks = [job.task(item, ignore_active_worker=False) for item in job.items]
        yield from convert_batch(Batch(tasks, "topic"))


@pytest.mark.parametrize("engine", ["in this process", "in a worker"])
def test_images_wait_for_answers_beside_each_other(server, cohort, tmp_path, monkeypatch, engine):
    if engine == "in a worker":
        monkeypatch.setattr(build_module, "choose_engine", lambda *_: InAWorker())
        monkeypatch.setattr(batches, "Reporter", lambda _: SimpleNamespace(of=lambda _: None))
        monkeypatch.setattr(batches, "slowed_monitoring", nullcontext)
    for number in range(8):
        image_of(number).save(tmp_path / f"sub-{number}.nii.gz")
    under_way, most = set(), 0

    def before(request):
        nonlocal most
        words = request.split("/")
        if "subjects" not in words or ".ome.zarr" not in request:
            return
        archive = words[words.index("subjects") + 1]
        if request.startswith("PUT"):
            under_way.add(archive)
            most = max(most, len(under_way))
        if request.startswith("PUT") and request.endswith("manifest.json"):
            under_way.discard(archive)

    server.before, server.delay = before, 0.03
    try:
        with dask.config.set({"voxarray.threads": 2}):
            made, allowed = vx.convert_cohort(tmp_path, cohort), throttle.at_work()
    finally:
        server.before = lambda _: None
    assert (made.converted, made.failed) == (8, 0)
    assert most > allowed == 2
