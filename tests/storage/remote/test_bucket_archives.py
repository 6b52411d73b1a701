"""Archives in a bucket: whole or not there, plain keys, two writers, faults."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

import voxarray as vx
from voxarray.archive import bucket_staging, held_files
from voxarray.archive.verify import LEFTOVERS, examine, verify
from voxarray.core.errors import (
    ArchiveExistsError,
    FormatError,
    MissingDataError,
    MissingFileError,
    TransportError,
    VoxarrayError,
)
from voxarray.storage.remote import objects, writing
from voxarray.storage.remote.writing import WritableObjects


def image_of(seed=0, shape=(1, 40, 36, 28)):
    voxels = np.random.default_rng(seed).integers(1, 900, shape).astype("i2")
    return vx.ScalarImage(tensor=voxels, affine=np.diag([2.0, 1.5, 3, 1]))


def voxels_of(url):
    objects.forget()
    return vx.ScalarImage(url).numpy()


@pytest.fixture(params=["held", "on disk"])
def way(request, monkeypatch):
    """How files of small images get to the bucket, and how those of large ones do."""
    if request.param == "on disk":
        monkeypatch.setattr(held_files, "LARGEST", 0)
    return request.param


def test_small_images_touch_no_disk(bucket, monkeypatch):
    monkeypatch.setattr(bucket_staging, "spool", None)
    image_of().save(f"{bucket.url}/a.ome.zarr")
    np.testing.assert_array_equal(voxels_of(f"{bucket.url}/a.ome.zarr"), image_of().numpy())


@pytest.mark.usefixtures("way")
def test_an_archive_in_a_bucket_equals_a_local_one(bucket, tmp_path):
    image, url = image_of(), f"{bucket.url}/study/a.ome.zarr"
    image.save(url, chunks=16)
    np.testing.assert_array_equal(voxels_of(url), image.numpy())
    np.testing.assert_array_equal(vx.ScalarImage(url).affine, image.affine)
    assert verify(url) == []
    image.save(tmp_path / "a.ome.zarr", chunks=16)
    local = {
        f"study/{file.relative_to(tmp_path).as_posix()}": file.read_bytes()
        for file in (tmp_path / "a.ome.zarr").rglob("*")
        if file.is_file()
    }
    assert {key: bucket.get(key) for key in bucket.listed()} == local


def test_convert_reports_and_counts(bucket, tmp_path):
    image_of().save(tmp_path / "a.nii.gz")
    seen = []
    done = vx.convert(
        tmp_path / "a.nii.gz",
        f"{bucket.url}/a.ome.zarr",
        labels={
            "brain": vx.LabelMap(
                tensor=(image_of().numpy() % 3).astype("u1"), affine=image_of().affine
            )
        },
        progress=lambda done, total: seen.append((done, total)),
    )
    assert done.path == f"{bucket.url}/a.ome.zarr"
    assert done.archive_bytes == sum(
        len(bucket.get(key)) for key in bucket.listed() if not key.endswith("manifest.json")
    )
    assert seen[-1][0] == seen[-1][1]
    brain = vx.LabelMap(f"{bucket.url}/a.ome.zarr/labels/brain")
    np.testing.assert_array_equal(brain.numpy(), image_of().numpy() % 3)


def test_others_open_it(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    zarr = pytest.importorskip("zarr")
    from zarr.storage import ObjectStore

    tensorstore = pytest.importorskip("tensorstore")
    image = image_of()
    image.save(f"{bucket.url}/a.ome.zarr")
    group = zarr.open_group(ObjectStore(bucket.store("a.ome.zarr"), read_only=True), mode="r")
    expected = image.numpy().transpose(0, 3, 2, 1)
    np.testing.assert_array_equal(group["scale0/image"][...], expected)
    opened = tensorstore.open(
        {
            "driver": "zarr3",
            "kvstore": {
                "driver": "s3",
                "bucket": bucket.name,
                "path": "a.ome.zarr/scale0/image/",
                "endpoint": bucket.endpoint,
                "aws_region": "us-east-1",
                "aws_credentials": {"type": "environment"},
            },
        }
    ).result()
    np.testing.assert_array_equal(opened.read().result(), expected)


def test_manifest_comes_last_and_is_conditional(server, bucket):
    image_of().save(f"{bucket.url}/a.ome.zarr")
    written = [path for path in server.paths if path.startswith("PUT")]
    assert written[-2].endswith("/a.ome.zarr/zarr.json")
    assert written[-1].endswith("/a.ome.zarr/manifest.json")
    assert not any("upload" in path for path in server.paths)


def test_saving_onto_an_existing_archive_is_refused(bucket):
    first, url = image_of(1), f"{bucket.url}/a.ome.zarr"
    first.save(url)
    before = {key: bucket.get(key) for key in bucket.listed()}
    with pytest.raises(ArchiveExistsError):
        image_of(2).save(url)
    assert {key: bucket.get(key) for key in bucket.listed()} == before
    with pytest.raises(ArchiveExistsError):
        image_of(2).save(f"{bucket.url}/a.ome.zarr", overwrite=False)


def test_overwriting_swaps_and_leaves_nothing(bucket):
    url = f"{bucket.url}/a.ome.zarr"
    image_of(1).save(url)
    opened = vx.ScalarImage(url)
    assert opened.shape == (1, 40, 36, 28)
    for seed in (2, 3):
        image_of(seed).save(url, overwrite=True)
        np.testing.assert_array_equal(voxels_of(url), image_of(seed).numpy())
        assert verify(url) == []
    roots = {key.split("/")[2] for key in bucket.listed("a.ome.zarr/generations/")}
    assert len(roots) == 1
    assert vx.ScalarImage(url).source.path == url
    with pytest.raises(VoxarrayError):
        opened.numpy()


def test_overwritten_archive_is_found_by_other_readers(bucket):
    url = f"{bucket.url}/a.ome.zarr"
    image_of(1).save(url)
    image_of(2).save(url, overwrite=True)
    top = json.loads(bucket.get("a.ome.zarr/zarr.json"))
    path = top["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"]
    assert f"a.ome.zarr/{path}/zarr.json" in bucket.listed()
    folder = path.split("/scale0")[0]
    np.testing.assert_array_equal(vx.ScalarImage(f"{url}/{folder}").numpy(), image_of(2).numpy())


@pytest.mark.parametrize("number", [0, 1, 3, 6])
def test_an_interrupted_upload_of_the_same_image_is_resumed(bucket, number):
    url = f"{bucket.url}/a.ome.zarr"
    image_of(1).save(url)
    keys = [key for key in bucket.listed() if not key.endswith("manifest.json")]
    whole = {key: bucket.get(key) for key in bucket.listed()}
    bucket.delete("a.ome.zarr/manifest.json")
    for key in keys[:number]:
        bucket.delete(key)
    with pytest.raises(VoxarrayError):
        voxels_of(url)
    image_of(1).save(url)
    assert {key: bucket.get(key) for key in bucket.listed()} == whole


def test_leftovers_of_another_image_are_left_alone(bucket):
    url = f"{bucket.url}/a.ome.zarr"
    image_of(1).save(url)
    bucket.delete("a.ome.zarr/manifest.json")
    before = {key: bucket.get(key) for key in bucket.listed()}
    image_of(2).save(url)
    np.testing.assert_array_equal(voxels_of(url), image_of(2).numpy())
    assert verify(url) == [] == verify(url, quick=True)
    assert examine(url).notes == [LEFTOVERS]
    after = {key: bucket.get(key) for key in before}
    assert [key for key in before if before[key] != after[key]] == ["a.ome.zarr/zarr.json"]


def test_what_others_wrote_is_refused(bucket):
    bucket.put("a.ome.zarr/notes.txt", b"mine")
    with pytest.raises(ArchiveExistsError) as caught:
        image_of().save(f"{bucket.url}/a.ome.zarr")
    assert caught.value.code == "FOREIGN_FILES"
    bucket.put("b.ome.zarr/zarr.json", b'{"zarr_format":3,"node_type":"group","attributes":{}}')
    with pytest.raises(ArchiveExistsError) as caught:
        image_of().save(f"{bucket.url}/b.ome.zarr", overwrite=True)
    assert caught.value.code == "NOT_AN_ARCHIVE"
    assert len(bucket.listed()) == 2


@pytest.mark.usefixtures("way")
def test_failing_source_leaves_nothing(bucket, tmp_path):
    image_of().save(tmp_path / "a.nii.gz")
    data = bytearray((tmp_path / "a.nii.gz").read_bytes())
    data[-6] ^= 1
    (tmp_path / "a.nii.gz").write_bytes(data)
    with pytest.raises(FormatError):
        vx.convert(tmp_path / "a.nii.gz", f"{bucket.url}/a.ome.zarr")
    assert bucket.listed() == []


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("seeds", [(1, 1), (1, 2)])
def test_two_writers(bucket, seeds, overwrite):
    url = f"{bucket.url}/a.ome.zarr"
    if overwrite:
        image_of(9).save(url)
    outcomes = {}
    start = threading.Barrier(2)

    def write(number):
        image = image_of(seeds[number])
        start.wait()
        try:
            image.save(url, overwrite=overwrite, chunks=16)
            outcomes[number] = "saved"
        except ArchiveExistsError as error:
            outcomes[number] = error.code

    threads = [threading.Thread(target=write, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    saved = [number for number in range(2) if outcomes[number] == "saved"]
    assert saved, outcomes
    found = voxels_of(url)
    assert any(np.array_equal(found, image_of(seeds[number]).numpy()) for number in saved)
    assert verify(url) == []


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("fault", ["busy", "lost", "cut", "conflict"])
def test_faults_of_the_server(server, bucket, fault):
    url = f"{bucket.url}/a.ome.zarr"
    server.faults = (fault,)
    image_of(1).save(url, chunks=16)
    image_of(2).save(url, chunks=16, overwrite=True)
    server.faults = ()
    np.testing.assert_array_equal(voxels_of(url), image_of(2).numpy())
    assert verify(url) == []


def test_a_conflict_is_no_answer_to_a_put_without_condition(server, bucket, monkeypatch):
    place, answers = WritableObjects.at(bucket.url), [409, 409]
    monkeypatch.setattr(server, "refuses", lambda _: (answers.pop(), b"") if answers else None)
    assert place.put("a", b"data") is not None
    assert bucket.get("a") == b"data"


@pytest.mark.parametrize("status", [409, 412])
def test_a_put_that_is_always_refused_is_an_error(server, bucket, monkeypatch, status):
    place = WritableObjects.at(bucket.url)
    monkeypatch.setattr(server, "refuses", lambda _: (status, b""))
    with pytest.raises(TransportError):
        place.put("a", b"data")
    monkeypatch.undo()


def test_server_that_is_gone_is_named(server, bucket):
    server.faults, server.probability = ("busy",), 1.0
    with pytest.raises(TransportError):
        image_of().save(f"{bucket.url}/a.ome.zarr")
    server.faults = ()
    assert bucket.listed() == []


@pytest.mark.parametrize("list_all", [WritableObjects.stamps, WritableObjects.names])
def test_a_bucket_that_is_not_there_is_named(bucket, list_all, monkeypatch):
    place = WritableObjects.at(f"{bucket.url}/study")
    assert not list_all(place)  # nothing below a place is no error

    def answer(*_, **__):
        raise FileNotFoundError("NoSuchBucket")  # as obstore says it

    monkeypatch.setattr(writing.obstore(), "list", answer)
    monkeypatch.setattr(writing.obstore(), "list_with_delimiter", answer)
    with pytest.raises(MissingFileError, match=f"there is no bucket {bucket.url}; make it first"):
        list_all(place)


def test_object_that_goes_meanwhile_is_missed(bucket, monkeypatch):
    from voxarray.archive.bucket_staging import BucketStaging

    require = BucketStaging._require_all

    def deleted_before(self, files):
        bucket.delete("a.ome.zarr/scale0/image/zarr.json")
        require(self, files)

    monkeypatch.setattr(BucketStaging, "_require_all", deleted_before)
    with pytest.raises(MissingDataError, match="scale0/image/zarr"):
        image_of().save(f"{bucket.url}/a.ome.zarr")
    assert not any(key.endswith("manifest.json") for key in bucket.listed())


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mha", "a.nrrd", "a.ozx", "a.mgz"])
def test_single_files(bucket, name):
    url = f"{bucket.url}/x/{name}"
    image_of(1).save(url)
    assert bucket.listed() == [f"x/{name}"]
    np.testing.assert_array_equal(voxels_of(url), image_of(1).numpy())
    with pytest.raises(ArchiveExistsError):
        image_of(2).save(url)
    image_of(2).save(url, overwrite=True)
    np.testing.assert_array_equal(voxels_of(url), image_of(2).numpy())


@pytest.mark.parametrize("suffix", [".ome.zarr", ".nii.gz", ".ozx"])
def test_subjects(bucket, suffix):
    subject = vx.Subject(t1=image_of(1), t2=image_of(2), age=40)
    subject.save(f"{bucket.url}/sub-01/", suffix)
    assert {key.split("/")[1] for key in bucket.listed()} == {f"t1{suffix}", f"t2{suffix}"}
    for name in ("t1", "t2"):
        found = voxels_of(f"{bucket.url}/sub-01/{name}{suffix}")
        np.testing.assert_array_equal(found, subject[name].numpy())
    before = bucket.listed()
    with pytest.raises(ArchiveExistsError):  # of t2, and t0 was not written either
        vx.Subject(t0=image_of(3), t2=image_of(4)).save(f"{bucket.url}/sub-01", suffix)
    assert bucket.listed() == before
    with pytest.raises(ValueError, match="give a folder"):
        subject.save(f"{bucket.url}/sub-01.nii.gz", suffix)


@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr", "a.hdr", "a.img"])
def test_files_of_several_parts_are_refused(bucket, name):
    with pytest.raises(FormatError) as caught:
        image_of(1).save(f"{bucket.url}/{name}")
    assert caught.value.code == "UNSUPPORTED_DESTINATION"
    assert bucket.listed() == []


def test_zipped_archives_are_verified_in_the_bucket(bucket):
    """Their bytes are those of the object, and not of a file of that name on this machine."""
    url = f"{bucket.url}/a.ozx"
    image_of().save(url)
    assert vx.verify(url) == []
    data = bytearray(bucket.get("a.ozx"))
    at = data.rindex(b"PK\x01\x02") + 12  # a time in the directory, which no manifest holds
    data[at] ^= 1
    bucket.put("a.ozx", bytes(data))
    objects.forget()
    assert [one.code for one in vx.verify(url)] == ["BAD_CHECKSUM"]


@pytest.mark.parametrize("name", ["x/../y", "./x", "a\nb", "x/.."])
def test_invalid_names_of_objects_are_refused_without_a_retry(bucket, name, monkeypatch):
    monkeypatch.setattr("voxarray.storage.remote.retries.pause", None)  # nothing is tried again
    for suffix in (".nii.gz", ".ome.zarr", ".ozx"):
        with pytest.raises(vx.VoxarrayError) as caught:
            vx.Subject(t1=image_of()).save(f"{bucket.url}/{name}", suffix=suffix)
        assert caught.value.code == "BAD_URL"
    with pytest.raises(vx.VoxarrayError) as caught:
        _ = vx.ScalarImage(f"{bucket.url}/{name}/t1.nii").shape
    assert caught.value.code == "BAD_URL"
    assert bucket.listed() == []


@pytest.mark.parametrize(
    ("key", "suffix"),
    [
        ("x/seg.nii.gz", ".nii.gz"),
        ("x/seg.ozx", ".ozx"),
        ("x/seg.ome.zarr/manifest.json", ".ome.zarr"),
    ],
)
def test_an_empty_object_is_there_before_anything_is_written(bucket, key, suffix):
    bucket.put(key, b"")
    subject = vx.Subject(t1=image_of(), seg=image_of())
    with pytest.raises(ArchiveExistsError):
        subject.save(f"{bucket.url}/x", suffix=suffix)
    assert bucket.listed() == [key]
