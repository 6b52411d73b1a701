"""What servers answer: other files for other queries, and statuses that are no 'absent'."""

from __future__ import annotations

import multiprocessing
import warnings

import dask.config
import numpy as np
import pytest
import zarr

import voxarray as vx
from voxarray.cohort.run.build import build
from voxarray.core.errors import (
    AccessDeniedError,
    TransportError,
    UnsupportedError,
    VoxarrayError,
)
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection
from voxarray.storage.remote import objects, obstore_objects
from voxarray.storage.remote.writing import WritableObjects
from web_server import WebServer

NUMBERS = (1, 2, 3)


@pytest.fixture
def by_query(tmp_path):
    """A server with another scan of the same size for each ``id``."""
    root = tmp_path / "www"
    for k in NUMBERS:
        (root / f"id={k}").mkdir(parents=True)
        image = vx.ScalarImage(
            tensor=np.full((1, 4, 5, 6), k, np.int16), affine=np.diag([k, 1.0, 1, 1])
        )
        for suffix in (".nii", ".nii.gz", ".nrrd", ".mgz", ".ome.zarr"):
            image.save(root / f"id={k}" / f"download{suffix}")
    with WebServer(root) as server:
        server.folder_of = lambda query: root / query
        yield server


def told(path):
    image = vx.ScalarImage(path)
    return float(image.numpy().mean()), float(image.spacing[0])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mgz", ".ome.zarr"])
@pytest.mark.parametrize("tags", [True, False])
def test_other_queries_are_other_images(by_query, suffix, tags):
    by_query.tags = tags
    urls = [f"{by_query.url}/download{suffix}?id={k}" for k in NUMBERS]
    for _ in range(2):
        assert [told(url) for url in urls] == [(k, k) for k in NUMBERS]
    sources = [open_source(url) for url in urls]
    assert len({source.token() for source in sources}) == 3
    arrays = [vx.ScalarImage(url).array for url in urls]
    assert [float(array.mean()) for array in arrays] == list(NUMBERS)


def test_an_object_absent_under_one_query_is_found_under_another(by_query):
    with pytest.raises(VoxarrayError) as caught:
        open_source(f"{by_query.url}/download.nii?id=4")
    assert caught.value.code == "NOT_FOUND"
    assert told(f"{by_query.url}/download.nii?id=1") == (1, 1)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii"])
def test_rows_of_a_manifest_with_other_queries_are_other_images(by_query, tmp_path, suffix):
    rows = [f"s{k},{by_query.url}/download{suffix}?id={k}" for k in NUMBERS]
    (tmp_path / "manifest.csv").write_text("\n".join(["subject,image", *rows]) + "\n")
    made = build(tmp_path / "manifest.csv", tmp_path / "cohort")
    assert (made.converted, made.failed) == (3, 0)
    archives = sorted((tmp_path / "cohort/subjects").iterdir())
    assert [told(archive) for archive in archives] == [(k, k) for k in NUMBERS]
    again = build(tmp_path / "manifest.csv", tmp_path / "cohort")
    assert (again.converted, again.present) == (0, 3)


def test_rows_whose_paths_end_alike_are_other_images(tmp_path):
    """Of a path that leads out of the manifest's folder only the end is shown."""
    rows = []
    for k in NUMBERS:
        folder = tmp_path / f"disk{k}" / "same"
        folder.mkdir(parents=True)
        vx.ScalarImage(tensor=np.full((1, 4, 5, 6), k, np.int16)).save(folder / "t1.nii")
        rows.append(f"s{k},{folder}/t1.nii")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/manifest.csv").write_text("\n".join(["subject,image", *rows]) + "\n")
    made = build(tmp_path / "lists/manifest.csv", tmp_path / "cohort")
    assert (made.converted, made.failed) == (3, 0)
    archives = sorted((tmp_path / "cohort/subjects").iterdir())
    assert [told(archive)[0] for archive in archives] == list(NUMBERS)
    plan = (tmp_path / "cohort/plan.json").read_text()
    assert "disk1" not in plan


# --- Statuses -----------------------------------------------------------------------------------


@pytest.fixture
def foreign(tmp_path):
    values = np.arange(4 * 6 * 8, dtype=np.int16).reshape(4, 6, 8)
    for version in (2, 3):
        group = zarr.open_group(tmp_path / f"v{version}.ome.zarr", mode="w", zarr_format=version)
        array = group.create_array(
            "0",
            shape=values.shape,
            chunks=(2, 6, 8),
            dtype=values.dtype,
            **({"dimension_names": ["z", "y", "x"]} if version == 3 else {}),
        )
        array[...] = values
        scale = [{"type": "scale", "scale": [2, 0.5, 0.5]}]
        axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
        datasets = [{"path": "0", "coordinateTransformations": scale}]
        multiscale = {"axes": axes, "datasets": datasets, "version": "0.4"}
        if version == 3:
            group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
        else:
            group.attrs["multiscales"] = [multiscale]
    with WebServer(tmp_path) as server:
        yield server, values


def _is_chunk(path):
    return "/c/" in path or path.rsplit("/", 1)[-1][0].isdigit()


def _mean(url):
    source = open_source(url)
    return float(source.read(Selection.whole(source.shape)).mean())


def _means_of_child(asked, answers):
    obstore_objects.RUNTIME.lost = True  # as after a fork: fsspec takes obstore's place
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for url in iter(asked.get, None):
            objects.forget()
            try:
                answers.put(_mean(url))
            except VoxarrayError as error:
                answers.put(error.code)


@pytest.mark.parametrize("version", [2, 3])
def test_only_404_is_a_missing_chunk(foreign, version):
    server, values = foreign
    url = f"{server.url}/v{version}.ome.zarr"
    for status in (400, 401, 403, 405, 406, 409, 412, 429, 451, 500, 501, 503):
        server.refuses = lambda *_: 0
        objects.forget()
        assert _mean(url) == values.mean()
        server.refuses = lambda _, path, status=status: status if _is_chunk(path) else 0
        objects.forget()
        with pytest.raises(VoxarrayError) as caught:
            _mean(url)
        assert caught.value.code in ("TRANSPORT", "ACCESS_DENIED", "NO_RANGES"), status


def test_only_404_is_a_missing_chunk_through_fsspec(foreign):
    server, values = foreign
    context = multiprocessing.get_context("spawn")
    asked, answers = context.Queue(), context.Queue()
    worker = context.Process(target=_means_of_child, args=(asked, answers))
    worker.start()
    try:
        for status in (403, 405, 500, 0):
            server.refuses = lambda _, path, status=status: status if _is_chunk(path) else 0
            asked.put(f"{server.url}/v3.ome.zarr")
            expected = ("TRANSPORT", "ACCESS_DENIED") if status else (values.mean(),)
            assert answers.get(timeout=100) in expected
    finally:
        asked.put(None)
        worker.join()


@pytest.mark.parametrize("status", [405, 501])
@pytest.mark.parametrize("name", ["v3.ome.zarr", "v2.ome.zarr"])
def test_servers_without_head_are_read(foreign, status, name):
    server, values = foreign
    server.refuses = lambda method, _: status if method == "HEAD" else 0
    assert _mean(f"{server.url}/{name}") == values.mean()


@pytest.mark.parametrize("version", [2, 3])
def test_public_stores_may_answer_403_for_what_is_absent(foreign, version):
    server, values = foreign
    server.absent = 403
    assert _mean(f"{server.url}/v{version}.ome.zarr") == values.mean()


def test_a_chunk_is_not_absent_where_403_may_say_so(foreign):
    """Nobody knows whether it is absent or denied: it is no fill value."""
    server, _ = foreign
    server.absent = 403
    (server.root / "v3.ome.zarr/0/c/0/0/0").unlink()
    with pytest.raises(AccessDeniedError):
        _mean(f"{server.url}/v3.ome.zarr")


# --- How often something is asked for -------------------------------------------------------------


def test_a_first_read_asks_for_metadata_and_indexes_once(tmp_path):
    """Three documents for the image, one range for each shard's index, one for each chunk.

    Whether the manifest is the one that was opened is asked once a second.
    """
    values = np.random.default_rng(0).integers(0, 900, (1, 64, 64, 64)).astype("i2")
    vx.ScalarImage(tensor=values).save(tmp_path / "a.ome.zarr", chunks=16, levels=1)
    with WebServer(tmp_path) as server:
        image = vx.ScalarImage(f"{server.url}/a.ome.zarr")
        assert image.shape == (1, 64, 64, 64)
        assert (server.seen["HEAD"], server.seen["GET"]) == (0, 3)
        np.testing.assert_array_equal(image[:16, :16, :16].numpy(), values[:, :16, :16, :16])
        assert server.seen["GET"] == 5
        assert server.seen["HEAD"] <= 1
        objects.forget()
        np.testing.assert_array_equal(image[16:32, :16, :16].numpy(), values[:, 16:32, :16, :16])
        assert server.seen["GET"] == 6
        assert server.seen["HEAD"] <= 1


@pytest.mark.parametrize("tags", [True, False])
def test_a_shard_of_another_archive_is_no_part_of_this_one(tmp_path, tags):
    """Nobody asks for its size or version before it is read: its index tells."""
    rng = np.random.default_rng(0)
    for name in "ab":
        values = rng.integers(0, 900, (1, 32, 32, 32)).astype("i2")
        vx.ScalarImage(tensor=values).save(tmp_path / f"{name}.ome.zarr", codec="raw", levels=1)
    shards = [next(p for p in (tmp_path / f"{n}.ome.zarr").rglob("c/0/*/*/*") if p.is_file())
              for n in "ab"]  # fmt: skip
    with WebServer(tmp_path) as server:
        server.tags = tags
        source = open_source(f"{server.url}/a.ome.zarr")
        shards[0].write_bytes(shards[1].read_bytes())
        with pytest.raises(VoxarrayError) as caught:
            source.read(Selection.whole(source.shape))
        assert caught.value.code in ("BAD_CHECKSUM", "BAD_CHUNK", "SOURCE_CHANGED")


# --- What stores say ------------------------------------------------------------------------------


def _answered(server, status, code):
    server.refuses = lambda request: (
        (status, f"<Error><Code>{code}</Code><Message>It says why</Message></Error>".encode())
        if not request.startswith("HEAD")
        else None
    )


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (403, "AccessDenied", AccessDeniedError),
        (403, "SignatureDoesNotMatch", AccessDeniedError),
        (400, "InvalidToken", AccessDeniedError),
        (400, "AuthorizationHeaderMalformed", TransportError),
        (507, "QuotaExceeded", TransportError),
    ],
)
def test_listings_and_uploads_that_are_refused(server, bucket, status, code, error):
    _answered(server, status, code)
    place = WritableObjects.at(bucket.url)
    for request in (place.names, place.stamps, lambda: place.put("a", b"1")):
        server.paths.clear()
        with pytest.raises(error, match=rf"{status} .*{code}: It says why") as caught:
            request()
        assert len(server.paths) == 1
        assert "several attempts" not in str(caught.value)


def test_a_store_without_conditions_is_refused(server, bucket):
    _answered(server, 501, "NotImplemented")
    with pytest.raises(UnsupportedError, match="It says why") as caught:
        WritableObjects.at(bucket.url).create("a", b"1")
    assert caught.value.code == "NO_CONDITIONS"


def test_a_store_whose_conditions_are_switched_off_is_refused(bucket):
    options = {**dask.config.get("voxarray.remote-options")["s3"], "conditional_put": "disabled"}
    with (
        dask.config.set({"voxarray.remote-options": {"s3": options}}),
        pytest.raises(UnsupportedError) as caught,
    ):
        WritableObjects.at(bucket.url).create("a", b"1")
    assert caught.value.code == "NO_CONDITIONS"
