"""What a conversion into a bucket asks for: each answer is waited for, and each request is paid."""

from __future__ import annotations

import threading
import time
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner

import voxarray as vx
from voxarray.archive.verify import verify
from voxarray.cli import main
from voxarray.cohort.catalogue.manifest_entries import entries_of
from voxarray.cohort.folder import CohortLayout
from voxarray.core.errors import ArchiveExistsError, MissingDataError, MissingFileError

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
        ("HEAD", "manifest.json"): COUNT,
        ("GET", "list"): 2 * COUNT,
        ("PUT", "file"): len(files),
        ("PUT", "manifest.json"): COUNT,
        ("GET", "manifest.json"): COUNT,  # for the catalogue
    }
    others = [path for path in server.paths if ".ome.zarr" not in path and "list" not in path]
    assert len([path for path in others if "/journal/" not in path]) <= 12


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


@pytest.mark.parametrize("is_small", [True, False])
def test_an_archive_that_is_there_stops_a_conversion_early(server, bucket, url, is_small, tmp_path):
    shape = (1, 40, 36, 28) if is_small else (1, 32, 32, 2048)
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
