"""What a conversion into a bucket asks for: each answer is waited for, and each request is paid."""

from __future__ import annotations

import threading
import time
from collections import Counter

import dask.config
import numpy as np
import pytest
from click.testing import CliRunner

import voxarray as vx
from voxarray.archive.manifest import Manifest
from voxarray.archive.verify import verify
from voxarray.cli import main
from voxarray.cohort.catalogue import kept_manifests, manifest_entries
from voxarray.cohort.catalogue.manifest_entries import entries_of
from voxarray.cohort.catalogue.replaced_catalogue import replace_catalogue
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.run import build
from voxarray.core.errors import ArchiveExistsError, MissingDataError, MissingFileError
from voxarray.storage.remote.writing import WritableObjects
from voxarray.storage.uploads import put_new

COUNT = 8


def image_of(seed=0, shape=(1, 40, 36, 28)):
    voxels = np.random.default_rng(seed).integers(1, 900, shape).astype("i2")
    return vx.ScalarImage(tensor=voxels, affine=np.diag([2.0, 1.5, 3, 1]))


def kinds(paths):
    """How many requests there were of each kind, by what they are about."""
    found = Counter()
    for path in paths:
        method, _, target = path.partition(" ")
        name = "list" if "list-type" in target else target.rpartition("/")[2]
        found[method, name if name in ("list", "manifest.json") else "file"] += 1
    return found


@pytest.fixture
def url(bucket):
    return f"{bucket.url}/a.ome.zarr"


@pytest.fixture
def watched(server):
    """Sets what is called before each request."""

    def watch(before):
        server.before = before

    yield watch
    server.before = lambda _: None


def is_list(request):
    return "list-type" in request


def is_put_of_top(request):
    return request.startswith("PUT") and request.endswith("a.ome.zarr/zarr.json")


def test_requests_of_an_archive(server, bucket, url):
    vx.convert(image_of(), url)
    files = len(bucket.listed()) - 1
    server.paths.pop()  # of what is listed here
    assert kinds(server.paths) == {
        ("GET", "list"): 2,  # what is there before anything is put, and before the manifest
        ("PUT", "file"): files,
        ("PUT", "manifest.json"): 1,
    }


def test_requests_of_a_cohort(server, bucket, tmp_path):
    for number in range(COUNT):
        image_of(number, (1, 12, 11, 10)).save(tmp_path / f"sub-{number}.nii.gz")
    vx.convert_cohort(tmp_path, f"{bucket.url}/study")
    of_archives = kinds(path for path in server.paths if ".ome.zarr" in path)
    files = [key for key in bucket.listed("study/subjects/") if not key.endswith("manifest.json")]
    assert of_archives == {
        ("GET", "list"): 2 * COUNT,
        ("PUT", "file"): len(files),
        ("PUT", "manifest.json"): COUNT,  # for the catalogue it is known, and listed
    }
    others = [path for path in server.paths if ".ome.zarr" not in path and "list" not in path]
    assert len([path for path in others if "/journal/" not in path]) <= 9
    assert not any(path.startswith("GET") for path in others if "/journal/" in path)


def scans_in(folder, count=COUNT):
    for number in range(count):
        image_of(number, (1, 12, 11, 10)).save(folder / f"sub-{number}.nii.gz")
    return folder


def of_manifests(server):
    return [path for path in server.paths if path.startswith("GET") and "manifest" in path]


def before_step(monkeypatch, name, work):
    """Do something before a step of the next run, and forget the requests that it made."""
    step = getattr(build, name)

    def replaced(*args, **options):
        monkeypatch.setattr(build, name, step)
        work()
        return step(*args, **options)

    monkeypatch.setattr(build, name, replaced)


def test_a_manifest_that_another_writer_has_replaced_is_read(server, bucket, tmp_path, monkeypatch):
    scans, folder = scans_in(tmp_path), CohortLayout.of(f"{bucket.url}/study")

    def change():
        first, second, *_ = folder.candidates()
        key = f"{first[len(bucket.url) + 1 :]}/manifest.json"
        before = Manifest.parse(bucket.get(key), key)
        bucket.put(key, before.successor(before.files, source={"minimum": -77.0}).to_bytes())
        bucket.delete(f"{second[len(bucket.url) + 1 :]}/manifest.json")
        server.paths.clear()

    before_step(monkeypatch, "conclude", change)
    result = vx.convert_cohort(scans, folder.root)
    assert ["sub-0" in path for path in of_manifests(server)] == [True]
    table = vx.Cohort(folder.root).table.set_index("subject")
    assert table.loc["sub-0", "minimum"] == -77
    assert [failure.code for failure in result.failures] == ["OVERTAKEN"]
    assert table.loc["sub-1", "status"] != "converted"


@pytest.mark.parametrize(
    ("module", "name", "value", "read"),
    [
        (kept_manifests, "_MOST_BYTES", 2000, COUNT - 1),  # one has room
        (manifest_entries, "_OF_A_PAGE", 3, COUNT),
    ],
)
def test_what_is_not_kept_or_too_long_to_list_is_read(
    server, bucket, tmp_path, monkeypatch, module, name, value, read
):
    scans = scans_in(tmp_path)
    vx.convert_cohort(scans, f"{bucket.url}/known")
    server.paths.clear()
    monkeypatch.setattr(module, name, value)
    vx.convert_cohort(scans, f"{bucket.url}/study")
    assert len(of_manifests(server)) == read
    assert vx.Cohort(f"{bucket.url}/study").table.equals(vx.Cohort(f"{bucket.url}/known").table)


def test_a_listing_that_is_longer_than_expected_is_given_up(server, bucket, tmp_path, monkeypatch):
    """Nobody knows how many objects the archives of others have."""
    for number in range(300):
        bucket.put(f"study/subjects/other.ome.zarr/{number}", b"")
    monkeypatch.setattr(manifest_entries, "_OF_A_PAGE", 20 * COUNT)
    result = vx.convert_cohort(scans_in(tmp_path), f"{bucket.url}/study")
    assert len(of_manifests(server)) > COUNT
    assert (result.converted, result.summary.done) == (COUNT, COUNT)


def test_nothing_is_kept_when_a_run_has_ended(bucket, tmp_path):
    vx.convert_cohort(scans_in(tmp_path), f"{bucket.url}/study")
    assert kept_manifests.kept_in(f"{bucket.url}/study/subjects") == {}
    assert kept_manifests._manifests.bytes == 0


def test_entries_of_before_are_released_while_images_are_converted(bucket, tmp_path, monkeypatch):
    scans, url, founds = scans_in(tmp_path), f"{bucket.url}/study", []
    vx.convert_cohort(scans, url)
    found_in = build.found_in
    monkeypatch.setattr(build, "found_in", lambda *a: founds.append(found_in(*a)) or founds[-1])
    before_step(monkeypatch, "carry_out", lambda: founds.append(dict(founds[0].entries)))
    vx.convert_cohort(scans, url, overwrite=True)
    assert founds[1] == {}


def test_an_object_whose_answer_was_lost_has_no_stamp(bucket):
    place = WritableObjects.at(bucket.url)
    stamp = put_new(place, "a", b"1", None)
    assert stamp == place.stat("a") == place.stamps()["a"]
    assert put_new(place, "a", b"1", None) is None  # looks as if this had put it before


def test_archives_that_another_run_makes_meanwhile_are_there(bucket, tmp_path, monkeypatch):
    scans, url = scans_in(tmp_path), f"{bucket.url}/study"
    before_step(monkeypatch, "carry_out", lambda: vx.convert_cohort(scans, url))
    result = vx.convert_cohort(scans, url)
    assert (result.converted, result.present, result.failed) == (0, COUNT, 0)
    assert len(vx.Cohort(url)) == COUNT


def test_archives_that_another_run_makes_otherwise_are_replaced(bucket, tmp_path, monkeypatch):
    scans, url = scans_in(tmp_path), f"{bucket.url}/study"
    before_step(monkeypatch, "carry_out", lambda: vx.convert_cohort(scans, url, codec="raw"))
    result = vx.convert_cohort(scans, url)
    assert (result.converted, result.failed) == (COUNT, 0)
    assert len(vx.Cohort(url)) == COUNT


def test_a_catalogue_that_another_run_replaces_meanwhile_is_read_again(
    server, bucket, tmp_path, monkeypatch
):
    scans, url = scans_in(tmp_path), f"{bucket.url}/study"
    before_step(monkeypatch, "carry_out", lambda: bucket.put("study/catalogue.parquet", b"other"))
    vx.convert_cohort(scans, url)
    ends = [path for path in server.paths if path.endswith("study/catalogue.parquet")]
    # At first, beside what is read, before what is read again, and when it is replaced.
    assert [path.split()[0] for path in ends].count("HEAD") >= 4
    assert len(vx.Cohort(url)) == COUNT


def test_content_that_is_older_than_the_catalogue_is_read_again(bucket):
    """Also if the catalogue is replaced after the question which one is there."""
    layout, versions = CohortLayout.of(f"{bucket.url}/study"), []

    def read():
        versions.append(len(versions))
        if len(versions) == 1:
            time.sleep(0.2)  # until the other question has its answer
            bucket.put("study/catalogue.parquet", b"of another process")
        return versions[-1]

    def write(content, put):
        put(layout.catalogue, str(content).encode())
        put(layout.readable_report, str(content).encode())

    replace_catalogue(layout, read, write, (None,))
    assert bucket.get("study/catalogue.parquet") == bucket.get("study/report.txt") == b"1"


def test_nothing_is_put_before_it_is_known_what_is_there(server, url, watched):
    early, answered = [], threading.Event()

    def before(request):
        if is_list(request) and not answered.is_set():
            time.sleep(0.3)  # the image is encoded meanwhile
            answered.set()
        elif request.startswith("PUT") and not answered.is_set():
            early.append(request)

    watched(before)
    vx.convert(image_of(), url)
    assert early == []
    assert verify(url) == []


def test_documents_of_a_large_image_are_put_after_its_voxels(server, bucket, url, tmp_path):
    image_of(1, (1, 32, 32, 3072)).save(tmp_path / "a.nii")

    def stop(done, total):
        time.sleep(0.05)
        if done >= total:
            raise KeyboardInterrupt

    # The next conversion may be told another affine; another reader finds the objects at the top.
    with pytest.raises(KeyboardInterrupt):
        vx.convert(tmp_path / "a.nii", url, chunks=16, progress=stop)
    left = bucket.listed()
    assert left
    assert [key for key in left if "/image/c/" not in key] == []
    server.paths.clear()
    other = f"{bucket.url}/other/a.ome.zarr"
    vx.convert(tmp_path / "a.nii", other, chunks=16)
    top = [number for number, path in enumerate(server.paths) if is_put_of_top(path)]
    assert len(top) == 1
    assert [path.rpartition("/")[2] for path in server.paths[top[0] + 1 :] if "PUT" in path] == [
        "manifest.json"
    ]
    assert verify(other) == []


@pytest.mark.parametrize("is_small", [True, False])
def test_an_archive_that_is_there_stops_a_conversion_early(server, bucket, url, is_small, tmp_path):
    # The first block that is reported is a seventh of the small one, so the answer may be slow.
    shape = (1, 40, 36, 112) if is_small else (1, 32, 32, 2048)
    image_of().save(url)
    before = {key: bucket.get(key) for key in bucket.listed()}
    image_of(1, shape).save(tmp_path / "a.nii")
    told = []

    def progress(done, total):
        told.append(done / total)
        time.sleep(0.05)

    with pytest.raises(ArchiveExistsError, match="exists already"):
        vx.convert(tmp_path / "a.nii", url, chunks=16, progress=progress)
    assert not told or told[-1] < 0.5
    assert {key: bucket.get(key) for key in bucket.listed()} == before


def test_an_object_that_goes_while_the_last_one_is_put_is_missed(server, bucket, url, watched):
    gone, lists = threading.Event(), []

    def before(request):
        if is_put_of_top(request):
            del server.objects[f"{bucket.name}/a.ome.zarr/scale0/image/zarr.json"]
            gone.set()
        elif is_list(request):
            lists.append(request)
            assert len(lists) == 1 or gone.wait(60)

    watched(before)
    with pytest.raises(MissingDataError, match="scale0/image/zarr"):
        vx.convert(image_of(), url)
    assert not any(key.endswith("manifest.json") for key in bucket.listed())


def test_the_last_object_of_another_writer_is_looked_for_again(server, bucket, url, watched):
    """Its writer may delete it, until the mark of this one is there."""
    vx.convert(image_of(), url)
    for key in bucket.listed():
        if key != "a.ome.zarr/zarr.json":
            bucket.delete(key)

    def before(request):
        if request.startswith("PUT") and request.endswith("/borrowed"):
            del server.objects[f"{bucket.name}/a.ome.zarr/zarr.json"]

    watched(before)
    with pytest.raises(MissingDataError, match=r"zarr\.json is gone"):
        vx.convert(image_of(), url)
    assert not any(key.endswith("manifest.json") for key in bucket.listed())


def test_what_is_not_whole_is_no_archive_of_a_cohort(server, bucket, tmp_path):
    for number in range(3):
        image_of(number, (1, 12, 11, 10)).save(tmp_path / f"sub-{number}.nii.gz")
    folder = CohortLayout.of(f"{bucket.url}/study")
    vx.convert_cohort(tmp_path, folder.root)
    first, second, third = folder.candidates()
    inside = third[len(bucket.url) + 1 :]
    bucket.put(f"{inside}/manifest.json", b"")
    bucket.delete(f"{second[len(bucket.url) + 1 :]}/manifest.json")
    bucket.put("study/subjects/strange.ozx", b"no zip")
    server.paths.clear()
    entries = entries_of(folder)
    whole, damaged = (path.rpartition("/")[2] for path in (first, third))
    assert {name: entry is not None for name, entry in entries.items()} == {
        whole: True,
        damaged: False,
        "strange.ozx": False,
    }
    assert sum("sub-1" in path for path in server.paths) == 1
    assert sorted(entries) == sorted(path.rpartition("/")[2] for path in folder.archives())


def test_a_cohort_is_opened_by_one_request(server, bucket, tmp_path):
    image_of(0, (1, 12, 11, 10)).save(tmp_path / "sub-0.nii.gz")
    vx.convert_cohort(tmp_path, f"{bucket.url}/study")
    server.paths.clear()
    assert vx.Cohort(f"{bucket.url}/study").names == ["sub-0"]
    assert server.paths == [f"GET /{bucket.name}/study/catalogue.parquet"]
    with pytest.raises(MissingFileError) as caught:
        vx.Cohort(f"{bucket.url}/none")
    assert caught.value.code == "NO_COHORT"


def test_a_cohort_is_verified_without_counting_it_again(server, bucket, tmp_path):
    for number in range(COUNT):
        image_of(number, (1, 12, 11, 10)).save(tmp_path / f"sub-{number}.nii.gz")
    vx.convert_cohort(tmp_path, f"{bucket.url}/study")
    server.paths.clear()
    result = CliRunner().invoke(main, ["verify", "--quick", f"{bucket.url}/study"])
    assert result.exit_code == 0, result.output
    assert f"{COUNT} OK" in result.output
    # To find them, to find them when they are verified, and as those of the cohort.
    assert kinds(server.paths)["HEAD", "manifest.json"] == 3 * COUNT


def test_settings_are_heeded_from_one_archive_to_the_next(bucket):
    place = WritableObjects.at(bucket.url)
    first, unique = place.pinned().objects, place.objects.unique
    assert first.unique == unique
    assert first.client() is first.client() is place.objects.client()
    options = {**dask.config.get("voxarray.remote-options")["s3"], "region": "eu-west-1"}
    with dask.config.set({"voxarray.remote-options": {"s3": options}}):
        second = place.pinned().objects
        assert second.client() is place.objects.client() is not first.client()
        assert second.unique == place.objects.unique != unique
        assert second.below("a").unique == place.below("a").objects.unique
