"""Label maps and notes of archives in a bucket: whole or not there, other writers, kills."""

from __future__ import annotations

import itertools
import threading
from contextlib import suppress

import numpy as np
import pytest

import voxarray as vx
from voxarray.archive import bucket_layers
from voxarray.archive.bucket_staging import BucketStaging
from voxarray.archive.cleaning import clean
from voxarray.archive.layer_names import list_document
from voxarray.archive.verify import LEFTOVERS, examine, verify
from voxarray.core.errors import AccessDeniedError
from voxarray.storage.remote import objects
from voxarray.storage.remote.writing import WritableObjects

SHAPE = (1, 12, 10, 16)
SCAN = vx.ScalarImage(
    tensor=np.random.default_rng(0).integers(1, 900, SHAPE).astype("i2"),
    affine=np.diag([2, 1, 3, 1]),
)


def labels(seed=1):
    voxels = np.random.default_rng(seed).integers(0, 3, SHAPE).astype("u1")
    return vx.LabelMap(tensor=voxels, affine=SCAN.affine)


@pytest.fixture
def url(bucket):
    SCAN.save(f"{bucket.url}/a.ome.zarr", chunks=8)
    return f"{bucket.url}/a.ome.zarr"


def contents(bucket):
    return {key: bucket.get(key) for key in bucket.listed()}


def opened(url):
    objects.forget()
    return vx.Archive(url)


def problems(url, **options):
    objects.forget()
    return [(one.code, one.where) for one in verify(url, **options)]


def is_littered(url):
    objects.forget()
    return LEFTOVERS in examine(url).notes


@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_label_maps_come_and_go(bucket, url, times):
    if times == 2:  # then it lies below a folder of its own
        SCAN.save(url, chunks=8, overwrite=True)
    before, identity = contents(bucket), vx.Archive(url).identity
    added = vx.Archive(url).add_labels("tumour", labels(), names={1: "core", 2: "rim"})
    np.testing.assert_array_equal(added.numpy(), labels().numpy())
    assert (
        contents(bucket).items()
        >= {key: data for key, data in before.items() if not key.endswith("manifest.json")}.items()
    )
    archive = opened(url)
    archive.add_labels("brain", labels(2))
    archive.add_notes(seen="yes")
    assert list(opened(url).labels) == ["brain", "tumour"]
    assert (archive.generation, archive.identity) == (3, identity)
    assert archive.notes == {"seen": "yes"}
    np.testing.assert_array_equal(opened(url).labels["brain"].numpy(), labels(2).numpy())
    np.testing.assert_array_equal(opened(url).image.numpy(), SCAN.numpy())
    assert problems(url, quick=True) == []
    archive.remove_labels("tumour")
    assert list(opened(url).labels) == ["brain"]
    assert not [key for key in bucket.listed() if "/tumour/" in key]
    archive.add_labels("tumour", labels(3))
    np.testing.assert_array_equal(opened(url).labels["tumour"].numpy(), labels(3).numpy())
    assert problems(url) == []
    assert not is_littered(url)


def test_local_copy_is_what_a_local_archive_would_be(bucket, url, tmp_path):
    local = tmp_path / "a.ome.zarr"
    SCAN.save(local, chunks=8)
    for place in (url, local):
        vx.Archive(place).add_labels("one", labels())
        vx.Archive(place).add_labels("two", labels(2))
        vx.Archive(place).remove_labels("one")
    here = {
        f.relative_to(tmp_path).as_posix(): f.read_bytes() for f in local.rglob("*") if f.is_file()
    }
    assert contents(bucket) == here


def test_open_images_go_on_and_removed_label_maps_say_so(url):
    scan = vx.ScalarImage(url)
    first = scan[:, :2].numpy()
    vx.Archive(url).add_labels("a", labels())
    np.testing.assert_array_equal(scan[:, :2].numpy(), first)
    np.testing.assert_array_equal(scan.numpy(), SCAN.numpy())
    layer = opened(url).labels["a"]
    assert layer.shape == SHAPE
    vx.Archive(url).remove_labels("a")
    objects.forget()
    with pytest.raises(vx.VoxarrayError, match=r"SOURCE_CHANGED|MISSING"):
        layer.numpy()


def test_what_cannot_be_added_leaves_all_as_it_was(bucket, url):
    archive = vx.Archive(url)
    archive.add_labels("a", labels())
    before = contents(bucket)
    elsewhere = vx.LabelMap(tensor=labels().numpy(), affine=np.eye(4))
    for code, attempt in {
        "NAME_TAKEN": lambda: archive.add_labels("A", labels()),
        "BAD_NAME": lambda: archive.add_labels("a/b", labels()),
        "GRID_MISMATCH": lambda: archive.add_labels("b", elsewhere),
        "UNNAMED_VALUES": lambda: archive.add_labels("b", labels(), names={1: "one"}),
        "NO_LABELS": lambda: archive.remove_labels("b"),
        "NO_NOTE": lambda: archive.remove_notes("b"),
        "OVER_BUDGET": lambda: archive.add_labels("b", labels(), memory=1000),
    }.items():
        with pytest.raises(vx.VoxarrayError, match=code):
            attempt()
        assert contents(bucket) == before


def test_a_zip_is_sealed(bucket):
    SCAN.save(f"{bucket.url}/a.ozx")
    with pytest.raises(vx.UnsupportedError, match="SEALED"):
        vx.Archive(f"{bucket.url}/a.ozx").add_labels("a", labels())


@pytest.mark.parametrize("each", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_writers_at_once_lose_nothing(bucket, url, each):
    before = contents(bucket)

    def add(first):
        for number in range(first, first + each):
            vx.Archive(url).add_labels(f"layer-{number}", labels(number))

    threads = [threading.Thread(target=add, args=(each * number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    archive = opened(url)
    assert sorted(archive.labels) == sorted(f"layer-{number}" for number in range(3 * each))
    assert archive.generation == 3 * each
    for number in range(3 * each):
        seen = archive.labels[f"layer-{number}"].numpy()
        np.testing.assert_array_equal(seen, labels(number).numpy())
    assert problems(url) == []
    base = {key: data for key, data in before.items() if not key.endswith("manifest.json")}
    assert contents(bucket).items() >= base.items()


def test_of_two_writers_of_one_name_one_succeeds(bucket, url, monkeypatch):
    create, waiting = WritableObjects.create, threading.Barrier(2, timeout=60)

    def together(self, key, data):
        if key == "labels/a/zarr.json":
            waiting.wait()
        return create(self, key, data)

    monkeypatch.setattr(WritableObjects, "create", together)
    failed, done = [], []

    def add(seed):
        try:
            vx.Archive(url).add_labels("a", labels(seed))
            done.append(seed)
        except vx.VoxarrayError as error:
            failed.append(error.code)

    threads = [threading.Thread(target=add, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(done), failed) == (1, ["INTERRUPTED"])
    np.testing.assert_array_equal(opened(url).labels["a"].numpy(), labels(done[0]).numpy())
    assert problems(url) == []


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_whichever_request_is_the_last_the_archive_is_old_or_new(bucket, url, step):
    """Dies before its first, sixth, ... request that writes."""
    outcomes = set()
    for number in itertools.count(1, step):
        with pytest.MonkeyPatch.context() as patch:
            left = _dies_after(patch, number)
            with suppress(KeyboardInterrupt):
                vx.Archive(url).add_labels("a", labels())
        names = list(opened(url).labels)
        outcomes.add((tuple(names), bool(left)))
        assert {code for code, _ in problems(url)} <= {"INTERRUPTED"}
        np.testing.assert_array_equal(opened(url).image.numpy(), SCAN.numpy())
        if not left:
            break
        if not names and is_littered(url):
            with pytest.raises(vx.ArchiveError, match="INTERRUPTED"):
                vx.Archive(url).add_labels("a", labels())
        clean(url, unlocked=True)
        assert problems(url) == []
        assert not is_littered(url)
        if names:
            vx.Archive(url).remove_labels("a")
    assert number > 6
    assert {((), True), (("a",), True), (("a",), False)} <= outcomes


def _dies_after(patch, number):
    """Whether it has died is what it returns, empty or not."""
    died, done = [], itertools.count()

    def watched(whole):
        def step(self, *arguments, **words):
            if died or next(done) >= number:
                died.append(1)
                raise KeyboardInterrupt
            return whole(self, *arguments, **words)

        return step

    for name in ("create", "replace", "put", "delete"):
        patch.setattr(WritableObjects, name, watched(getattr(WritableObjects, name)))
    return died


@pytest.mark.parametrize("data", [list_document(["a"]), None])
def test_clean_restores_a_list_of_labels_of_another_generation(bucket, url, data):
    """A writer died after its manifest, or the list got lost."""
    vx.Archive(url).add_labels("b", labels())
    key = "a.ome.zarr/labels/zarr.json"
    bucket.delete(key) if data is None else bucket.put(key, data)
    assert problems(url) == [("INTERRUPTED", "labels/zarr.json")]
    assert [one.outcome for one in clean(url)] == ["left"]
    (done,) = clean(url, unlocked=True)
    assert (done.path, done.outcome) == (f"{url}/labels/zarr.json", "restored")
    assert bucket.get(key) == list_document(["b"])
    assert problems(url) == []


def test_what_others_put_beside_label_maps_is_not_deleted(bucket, url):
    vx.Archive(url).add_labels("ours", labels())
    bucket.put("a.ome.zarr/labels/theirs/zarr.json", b"{}")
    assert problems(url) == [("EXTRA_FILE", "labels/theirs/zarr.json")]
    assert [one.path for one in clean(url, unlocked=True)] == []
    with pytest.raises(vx.ArchiveError, match="INTERRUPTED"):
        vx.Archive(url).add_labels("theirs", labels())
    assert bucket.get("a.ome.zarr/labels/theirs/zarr.json") == b"{}"


def test_a_lost_answer_is_no_other_writer(url, monkeypatch):
    """What is put is there, and the store's answer says that something else was."""
    whole, lost = WritableObjects.replace, []

    def replace(self, key, data, expected):
        done = whole(self, key, data, expected)
        if not lost:
            lost.append(key)
            return False
        return done

    monkeypatch.setattr(WritableObjects, "replace", replace)
    vx.Archive(url).add_labels("a", labels())
    assert opened(url).generation == 1
    assert problems(url) == []


def test_an_archive_that_is_replaced_meanwhile_gets_nothing(url, monkeypatch):
    publish = bucket_layers._BucketArchive.publish

    def late(self, change):
        vx.ScalarImage(tensor=SCAN.numpy() + 1, affine=SCAN.affine).save(url, overwrite=True)
        return publish(self, change)

    monkeypatch.setattr(bucket_layers._BucketArchive, "publish", late)
    with pytest.raises(vx.VoxarrayError, match="SOURCE_CHANGED"):
        vx.Archive(url).add_labels("a", labels())
    assert list(opened(url).labels) == []
    assert problems(url) == []
    assert not is_littered(url)


def test_what_is_added_while_another_archive_is_made_stays(url, monkeypatch):
    publish = BucketStaging.publish

    def late(self, source):
        opened(url).add_labels("a", labels())
        publish(self, source)

    monkeypatch.setattr(BucketStaging, "publish", late)
    with pytest.raises(vx.VoxarrayError, match="another object was put"):
        vx.ScalarImage(tensor=SCAN.numpy() + 1, affine=SCAN.affine).save(url, overwrite=True)
    assert list(opened(url).labels) == ["a"]
    assert problems(url) == []


def test_an_archive_that_was_replaced_takes_no_manifest_of_the_new_one(url, monkeypatch):
    vx.Archive(url).add_notes(first="yes")
    tidy = BucketStaging._tidy

    def late(self, *args):
        opened(url).add_notes(seen="yes")
        tidy(self, *args)

    monkeypatch.setattr(BucketStaging, "_tidy", late)
    vx.ScalarImage(tensor=SCAN.numpy() + 1, affine=SCAN.affine).save(url, overwrite=True)
    assert opened(url).notes == {"seen": "yes"}
    assert problems(url) == []


def test_a_bucket_that_may_not_be_written_says_so(bucket, url, monkeypatch):
    before = contents(bucket)

    def denied(self, key, data):
        raise AccessDeniedError(f"{key} may not be written", path=key)

    monkeypatch.setattr(WritableObjects, "create", denied)
    with pytest.raises(AccessDeniedError):
        vx.Archive(url).add_labels("a", labels())
    assert contents(bucket) == before


@pytest.mark.parametrize("count", [4, pytest.param(24, marks=pytest.mark.slow)])
def test_faults_are_named_or_got_over(server, url, monkeypatch, count):
    archive = vx.Archive(url)
    monkeypatch.setattr(server, "faults", ("busy", "lost", "cut", "conflict"))
    added, failed = {}, []
    for number in range(count):
        try:
            archive.add_labels(f"layer-{number}", labels(number))
            added[f"layer-{number}"] = number
        except vx.VoxarrayError as error:
            failed.append(error.code)
    monkeypatch.setattr(server, "faults", ())
    assert set(added) <= set(opened(url).labels)
    for name, layer in opened(url).labels.items():
        number = int(name.split("-")[1])
        np.testing.assert_array_equal(layer.numpy(), labels(number).numpy())
    assert {code for code, _ in problems(url)} <= {"INTERRUPTED"}
    assert len(added) > 1, failed
    assert set(failed) <= {"INTERRUPTED", "UNREACHABLE"}
    archive.add_labels("last", labels())
    clean(url, unlocked=True)
    assert problems(url) == []
    assert not is_littered(url)


def test_adding_labels_in_a_bucket_warns_that_the_catalogue_is_outdated(server, bucket, tmp_path):
    """If the catalogue may not be written, though the archive may."""
    SCAN.save(tmp_path / "a.nii.gz")
    vx.convert_cohort([str(tmp_path / "a.nii.gz")], f"{bucket.url}/cohort")
    (key,) = {one.split("/manifest.json")[0] for one in bucket.listed() if "manifest.json" in one}
    server.refuses = lambda request: (
        (403, b"") if request.startswith("PUT") and "catalogue.parquet" in request else None
    )
    with pytest.warns(vx.VoxarrayWarning, match="voxarray finalise"):
        vx.Archive(f"{bucket.url}/{key}").add_labels("a", labels())
