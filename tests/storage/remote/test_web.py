"""Images on a web server: read in parts, right or not at all."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import dask.config
import numpy as np
import pytest
import zarr

import voxarray as vx
from remote_samples import AFFINE
from voxarray.archive import handle_cache
from voxarray.archive.verify import verify
from voxarray.core.errors import (
    AccessDeniedError,
    ArchiveError,
    FormatError,
    MissingDataError,
    MissingFileError,
    SourceChangedError,
    StateError,
    TransportError,
    UnsupportedError,
    VoxarrayError,
)
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection
from voxarray.storage.local_copies import COPIES
from voxarray.storage.remote import objects, obstore_objects
from voxarray.testing.counting import count_reads
from web_server import WebServer

FILES = ["a.nii", "a.nii.gz", "a.mgz", "a.ome.zarr", "a.ozx"]
PART = (slice(3, 20), slice(None, None, -2), 7)


def whole(source):
    return source.read(Selection.whole(source.shape))


def part(voxels):
    return voxels[None, 3:20, ::-2, 7:8]


def copies(tmp_path):
    return [file for file in (tmp_path / "copies").rglob("*.*") if file.is_file()]  # no lock


@pytest.mark.parametrize("name", FILES)
def test_the_same_image_as_the_file(web, scans, voxels, name):
    scan = vx.ScalarImage(f"{web.url}/{name}")
    assert not web.seen  # nothing was asked for yet
    local = vx.ScalarImage(scans / name)
    np.testing.assert_array_equal(scan.affine, local.affine)
    np.testing.assert_array_equal(scan[PART].numpy(), part(voxels))
    np.testing.assert_array_equal(scan.array.values, voxels[None])
    again = pickle.loads(pickle.dumps(scan[PART]))
    np.testing.assert_array_equal(again.numpy(), part(voxels))
    assert scan.source.token() == vx.ScalarImage(f"{web.url}/{name}").source.token()
    with scan.source.stream() as stream:
        out = np.empty((1, 22, 26, 30), "i2")
        stream.read_into(out)
        stream.finish()
    np.testing.assert_array_equal(out[0].transpose(2, 1, 0), voxels)
    assert scan.source.base.bytes_on_disk


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.ome.zarr"])
def test_opening_reads_headers_only(web, tmp_path, name):
    with count_reads() as reads:
        scan = vx.ScalarImage(f"{web.url}/{name}")[2:5]
        assert scan.shape == (1, 3, 26, 22)
        assert "ScalarImage(shape: (1, 3, 26, 22)" in repr(scan)
    assert reads.voxels == 0
    assert web.seen["bytes"] <= 16 << 10
    assert not copies(tmp_path)


def test_each_document_is_asked_for_once(web):
    asked = Counter()
    web.refuses = lambda _, path: asked.update([path]) or 0
    scan = vx.ScalarImage(f"{web.url}/a.ome.zarr")
    assert scan.spacing
    assert {Path(path).name for path in asked} == {"manifest.json", "zarr.json"}
    assert set(asked.values()) == {1}


def test_a_slice_of_a_plain_file_reads_its_rows(web):
    scan = vx.ScalarImage(f"{web.url}/a.nii")
    assert scan.shape
    web.seen.clear()
    plane = scan[:, :, 5].numpy()
    assert plane.shape == (1, 30, 26, 1)
    assert web.seen["bytes"] == 30 * 26 * 2


def test_a_patch_of_an_archive_reads_its_chunks(web, scans):
    scan = vx.ScalarImage(f"{web.url}/a.ome.zarr")
    assert scan.shape
    web.seen.clear()
    assert scan[:8, :8, :8].numpy().shape == (1, 8, 8, 8)
    shard = next((scans / "a.ome.zarr/scale0/image/c").rglob("0"), None)
    assert shard is not None
    assert web.seen["bytes"] < 16 << 10


def test_a_remote_file_is_downloaded_once(web, tmp_path):
    scan = vx.ScalarImage(f"{web.url}/a.nii.gz")
    scan[3:4].numpy()
    assert len(copies(tmp_path)) == 1
    web.seen.clear()
    scan[5:9].numpy()
    vx.ScalarImage(f"{web.url}/a.nii.gz")[2:3].numpy()
    assert web.seen["bytes"] <= 16 << 10  # the header of the second


def test_copies_stay_within_their_limit(web, tmp_path, scans, voxels):
    size = max((scans / name).stat().st_size for name in ("a.nii.gz", "a.mgz"))
    with dask.config.set({"voxarray.download-cache": size + 100}):
        for _ in range(2):
            for name in ("a.nii.gz", "a.mgz"):
                scan = vx.ScalarImage(f"{web.url}/{name}")
                np.testing.assert_array_equal(scan.numpy()[0], voxels)
                assert len(copies(tmp_path)) == 1
    COPIES.clear()
    with dask.config.set({"voxarray.download-cache": 100}), pytest.raises(UnsupportedError) as no:
        open_source(f"{web.url}/a.mgz")
    assert no.value.code in ("TOO_LARGE",)


def test_copies_go_with_their_process(web, tmp_path):
    code = (
        "import voxarray as vx, sys, dask.config, os\n"
        f"with dask.config.set({{'voxarray.download-directory': {str(tmp_path / 'own')!r}}}):\n"
        f"    print(vx.ScalarImage({web.url + '/a.mgz'!r}).shape)\n"
        f"    print(os.listdir({str(tmp_path / 'own')!r}))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "voxarray-copies-" in ran.stdout
    assert os.listdir(tmp_path / "own") == []


def test_what_killed_processes_left_is_removed(web, tmp_path):
    from voxarray.storage.folder_lock import FolderLock

    names = iter(f"voxarray-copies-{number:016x}" for number in range(3))
    folder = tmp_path / "copies"
    folder.mkdir(exist_ok=True)
    left, living = (FolderLock.make(str(folder), lambda: next(names)) for _ in range(2))
    left.release()
    others = [
        folder / "somebody-elses",
        folder / "voxarray-copies-host-1-abc",
        folder / next(names),
    ]
    others[0].mkdir()
    others[1].mkdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/lock").touch()
    others[2].symlink_to(tmp_path / "precious")
    assert open_source(f"{web.url}/a.mgz").shape
    assert not os.path.exists(left.folder)
    assert living.is_there
    assert all(other.exists() for other in others)
    assert (tmp_path / "precious/lock").exists()
    living.remove()


def test_levels_and_labels(web, scans, voxels):
    for name in ("a.ome.zarr", "a.ozx"):
        brain = vx.LabelMap(f"{web.url}/{name}/labels/brain")
        np.testing.assert_array_equal(brain.numpy()[0], voxels % 3)
        coarse, local = (vx.ScalarImage(f"{at}/{name}").level(1) for at in (web.url, scans))
        np.testing.assert_array_equal(coarse.affine, local.affine)
        np.testing.assert_array_equal(coarse.numpy(), local.numpy())
        with pytest.raises(MissingFileError, match="brain"):
            open_source(f"{web.url}/{name}/labels/none")
    assert verify(f"{web.url}/a.ome.zarr") == []


def test_zarr_of_others(web, scans, tmp_path):
    import zarr

    array = zarr.create_array(
        tmp_path / "www/b.zarr",
        shape=(4, 5),
        chunks=(2, 2),
        dtype="i2",
        dimension_names=["y", "x"],
        fill_value=7,
    )
    array[...] = np.arange(20).reshape(4, 5)
    (tmp_path / "www/b.zarr/c/0/0").unlink()
    expected = np.arange(20).reshape(4, 5)
    expected[:2, :2] = 7
    with WebServer(tmp_path / "www") as server:
        with pytest.warns(vx.VoxarrayWarning):
            source = open_source(f"{server.url}/b.zarr")
        np.testing.assert_array_equal(whole(source)[0, :, :, 0], expected.T)
        # What is denied, or does not arrive, is not absent.
        server.denied = True
        objects.forget()
        with pytest.raises(AccessDeniedError):
            whole(source)


def test_signed_urls_and_spaces(scans, tmp_path, voxels):
    shutil.copy(scans / "a.nii", tmp_path / "my scan.nii")
    with WebServer(tmp_path) as server:
        for name in ("my scan.nii", "my%20scan.nii"):
            scan = vx.ScalarImage(f"{server.url}/{name}?signature=a%2Fb/c")
            assert "signature" not in repr(scan) + scan.source.base.path
            np.testing.assert_array_equal(scan.numpy()[0], voxels)
            assert scan["stem"] == "my scan"
        with pytest.raises(MissingFileError) as caught:
            open_source(f"{server.url}/none.nii?signature=secret")
        assert "secret" not in str(caught.value)


# --- What goes wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["b.nii", "b.nii.gz", "b.mgz", "b.ome.zarr", "b.ozx", "b"])
def test_missing_urls_are_refused_when_they_are_read(web, name):
    scan = vx.ScalarImage(f"{web.url}/{name}")  # not looked for when it is constructed
    assert "not readable" in repr(scan)
    with pytest.raises(VoxarrayError) as caught:
        _ = scan.shape
    assert caught.value.code in ("NOT_FOUND", "NO_NODE")
    assert caught.value.path


def test_unknown_suffixes(web, scans, tmp_path):
    (tmp_path / "a.xyz").write_bytes(b"1")
    with WebServer(tmp_path) as server, pytest.raises(UnsupportedError) as caught:
        open_source(f"{server.url}/a.xyz")
    assert caught.value.code == "UNKNOWN_SUFFIX"


def test_files_that_need_others(web, tmp_path, scans):
    (tmp_path / "a.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\n"
        "ElementType = MET_UCHAR\nElementDataFile = a.raw\n"
    )
    (tmp_path / "a.raw").write_bytes(bytes(8))
    with WebServer(tmp_path) as server, pytest.raises(UnsupportedError) as caught:
        open_source(f"{server.url}/a.mhd")
    assert caught.value.code == "REMOTE_PARTS"


def test_a_server_that_does_not_list(tmp_path):
    import xarray as xr

    coords = {"x": ("x", [0.0, 2.0], {"units": "mm"}), "y": ("y", [1.0, 2.0], {"units": "mm"})}
    data = xr.Dataset({"v": (("y", "x"), np.arange(4).reshape(2, 2))}, coords)
    for version in (2, 3):
        data.to_zarr(tmp_path / f"with{version}.zarr", zarr_format=version, consolidated=True)
    data.to_zarr(tmp_path / "without.zarr", zarr_format=3, consolidated=False)
    with WebServer(tmp_path) as server:
        for name in ("with2.zarr", "with3.zarr", "without.zarr/v"):
            assert open_source(f"{server.url}/{name}").grid.spacing == (2, 1, 1)
        with pytest.raises(UnsupportedError, match="give the URL of the image") as caught:
            open_source(f"{server.url}/without.zarr")
        assert caught.value.code == "NO_LISTING"


@pytest.mark.parametrize("name", FILES)
def test_denied(web, name):
    web.denied = True
    with pytest.raises(AccessDeniedError, match="credentials") as caught:
        open_source(f"{web.url}/{name}")
    assert isinstance(caught.value, PermissionError)
    # Three documents side by side, the root documents of a Zarr; asking again would not help.
    assert web.seen.total() <= 8


def test_nobody_answers(tmp_path):
    with dask.config.set({"voxarray.remote-attempts": 3}), pytest.raises(TransportError) as caught:
        open_source("http://127.0.0.1:1/a.nii")
    assert caught.value.code == "TRANSPORT"
    assert isinstance(caught.value, ConnectionError)
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), TransportError)


def test_attempts_are_bounded(web):
    web.faults, web.probability = ("busy",), 1.0
    with dask.config.set({"voxarray.remote-attempts": 4}), pytest.raises(TransportError):
        open_source(f"{web.url}/a.nii")
    assert web.seen.total() == 4


@pytest.mark.parametrize("kind", ["busy", "drop", "cut", "whole", "shifted", "slow"])
@pytest.mark.parametrize("name", ["a.nii", "a.ome.zarr", "a.nii.gz"])
def test_faults_are_survived_or_raised(web, voxels, name, kind):
    """Many operations, a fifth of the requests fail: every result is right, or an error."""
    web.faults = (kind,)
    rng = np.random.default_rng(0)
    right = 0
    attempts = 8 if kind == "slow" else 16
    with dask.config.set({"voxarray.remote-timeout": 0.4, "voxarray.remote-requests": 4}):
        for _ in range(attempts):
            objects.forget()
            COPIES.clear()
            start = rng.integers(0, 14, 3)
            key = tuple(slice(int(s), int(s) + 8) for s in start)
            try:
                seen = vx.ScalarImage(f"{web.url}/{name}")[key].numpy()
            except VoxarrayError as error:
                assert error.code in ("TRANSPORT", "NO_RANGES"), error  # noqa: PT017
                continue
            np.testing.assert_array_equal(seen[0], voxels[key])
            right += 1
    assert right >= attempts // 2


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_all_faults_together_for_long(web, voxels, name):
    web.faults = ("busy", "drop", "cut", "whole", "shifted")
    rng = np.random.default_rng(1)
    right = 0
    with dask.config.set({"voxarray.remote-timeout": 2.0}):
        for _ in range(500):
            forget()
            key = tuple(slice(int(s), int(s) + 8) for s in rng.integers(0, 14, 3))
            try:
                seen = vx.ScalarImage(f"{web.url}/{name}")[key].numpy()
            except VoxarrayError as error:
                assert error.code in ("TRANSPORT", "NO_RANGES"), error  # noqa: PT017
                continue
            np.testing.assert_array_equal(seen[0], voxels[key])
            right += 1
    assert right > 450


def test_without_ranges(web, voxels):
    web.ranges = False
    scan = vx.ScalarImage(f"{web.url}/a.nii")  # through a copy, then
    np.testing.assert_array_equal(scan.numpy()[0], voxels)
    with pytest.raises(UnsupportedError) as caught:
        vx.ScalarImage(f"{web.url}/a.ome.zarr").numpy()
    assert caught.value.code == "NO_RANGES"
    assert vx.ScalarImage(f"{web.url}/a.ome.zarr").shape == (1, *voxels.shape)  # no voxels needed


def forget():
    """As a new process would begin."""
    objects.forget()
    COPIES.clear()
    handle_cache._shards.clear()
    handle_cache._manifests.clear()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("tags", [True, False])
def test_changed_after_it_was_opened(scans, tmp_path, name, tags):
    root = tmp_path / "www"
    shutil.copytree(scans, root)
    with WebServer(root) as server:
        server.tags = tags
        source = open_source(f"{server.url}/{name}")
        assert source.shape
        COPIES.clear()
        objects.forget()
        target = root / name / "manifest.json" if name.endswith(".zarr") else root / name
        data = bytearray(target.read_bytes())
        # Without tags only another size tells.
        target.write_bytes(
            data + b" " if not tags else bytes([*data[:-3], data[-3] ^ 1, *data[-2:]])
        )
        with pytest.raises(SourceChangedError):
            whole(source)


@pytest.mark.parametrize("tags", [True, False])
@pytest.mark.filterwarnings("ignore::voxarray.core.errors.VoxarrayWarning")  # it has no scale
def test_chunks_of_others_that_change(tmp_path, tags):
    shape = {"shape": (4, 4), "chunks": (2, 2), "compressors": None}
    array = zarr.create_array(tmp_path / "b.zarr", dtype="i2", dimension_names=["y", "x"], **shape)
    array[...] = 1
    with WebServer(tmp_path) as server:
        server.tags = tags
        source = open_source(f"{server.url}/b.zarr")
        assert (whole(source) == 1).all()
        array[2:] = 2
        if tags:
            with pytest.raises(SourceChangedError, match="c/1/"):
                whole(source)
        else:  # the known limit: nothing tells, for a server that gives neither tag nor time
            assert (whole(source)[0, :, 2:] == 2).all()
        (tmp_path / "b.zarr/c/1/1").unlink()
        objects.forget()
        with pytest.raises(SourceChangedError, match="c/1/"):
            whole(source)


def test_damage_is_found(scans, tmp_path, voxels):
    root = tmp_path / "www"
    shutil.copytree(scans, root)
    shard = root / "a.ome.zarr/scale0/image/c/0/0/0/0"
    data = shard.read_bytes()
    with WebServer(root) as server:
        url = f"{server.url}/a.ome.zarr"
        shard.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        with pytest.raises(FormatError):
            whole(open_source(url))
        shard.write_bytes(data[:-1])
        forget()
        with pytest.raises(ArchiveError) as caught:
            whole(open_source(url))
        assert caught.value.code == "TRUNCATED"
        shard.unlink()
        forget()
        with pytest.raises(MissingDataError):
            whole(open_source(url))
        (root / "a.ome.zarr/manifest.json").unlink()
        forget()
        with pytest.raises(MissingDataError) as caught:
            open_source(url)
        assert caught.value.code == "NO_MANIFEST"


# --- Processes and packages ---------------------------------------------------------------------


def _mean(url_or_source):
    return float(whole(url_or_source).mean())


@pytest.mark.parametrize(
    "name", [pytest.param("a.nii", marks=pytest.mark.slow), "a.nii.gz", "a.ome.zarr"]
)
def test_forked_workers(web, voxels, name):
    """obstore cannot work in the child of a fork; fsspec takes its place, and nothing hangs."""
    source = open_source(f"{web.url}/{name}")
    assert source.shape
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(_mean, [source] * 4).get(timeout=60)
    assert found == [float(voxels.mean())] * 4


def test_forked_workers_without_fsspec(web, monkeypatch):
    source = open_source(f"{web.url}/a.nii")
    monkeypatch.setattr(obstore_objects.RUNTIME, "lost", True)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(StateError, match="spawn") as caught:
        whole(source)
    assert caught.value.code == "FORKED"


@pytest.mark.parametrize(
    ("package", "url"), [("obstore", "http://h/a.nii"), ("fsspec", "ftp://h/a.nii")]
)
def test_missing_packages(package, url):
    code = (
        f"import sys; sys.modules[{package!r}] = None; sys.modules['{package}.core'] = None\n"
        "import voxarray as vx\n"
        f"try: vx.ScalarImage({url!r}).shape\n"
        "except vx.MissingPackageError as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'voxarray[remote]'" in ran.stdout


def test_nothing_remote_is_loaded_for_local_files(scans):
    code = (
        "import sys, voxarray as vx; from voxarray.formats.registry import open_source;"
        f"print(open_source({str(scans / 'a.nii')!r}).affine is None);"
        f"print(open_source({str(scans / 'a.ome.zarr')!r}).affine is None);"
        "heavy = {'obstore', 'fsspec', 'aiohttp', 'zarr', 'asyncio'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_file_urls(scans, voxels):
    np.testing.assert_array_equal(vx.ScalarImage((scans / "a.nii").as_uri()).numpy()[0], voxels)
    np.testing.assert_allclose(
        vx.ScalarImage(Path(scans / "a.nii").as_uri()).affine, AFFINE, atol=1e-5
    )
