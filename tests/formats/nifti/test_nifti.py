"""Sources of .nii and .nii.gz against nibabel, and what they do when files change."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import os
import pickle
import shutil
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import dask
import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from in_turns import in_turns
from real_files import real_files
from voxarray.core.errors import (
    FormatError,
    MissingFileError,
    OutOfRangeError,
    SourceChangedError,
    TruncatedError,
    UnsupportedError,
    VoxarrayWarning,
)
from voxarray.core.scaling import Scaling
from voxarray.formats.nifti.read import open_nifti
from voxarray.geometry.selection import Selection
from voxarray.testing.counting import count_reads
from voxarray.testing.strategies import index_expressions

DTYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c8", "c16"]
AFFINE = np.array([[0.0, -2, 0.2, 10], [1.5, 0, 0.3, -20], [0, 0.1, 3, 30], [0, 0, 0, 1]])


def whole(source):
    return source.read(Selection.whole(source.shape))


def streamed(source, planes=None):
    c, w, h, d = source.shape
    out = np.empty((c, d, h, w), source.dtype)
    with source.stream() as stream:
        assert stream.source_digest() is None
        stream.start_digest()
        if planes is None:
            stream.read_into(out)
        else:
            for n, z in itertools.product(range(c), range(0, d, planes)):
                stream.read_into(out[n : n + 1, z : z + planes])
        stream.finish()
        digest = stream.source_digest()
    return out.transpose(0, 3, 2, 1), digest


def by_nibabel(path, dtype):
    """(C, W, H, D), scaled values rounded to ``dtype``."""
    voxels = np.asanyarray(nib.load(path).dataobj)
    voxels = voxels.reshape(*voxels.shape[:3], -1) if voxels.ndim > 3 else voxels[..., None]
    return np.moveaxis(voxels, -1, 0).astype(dtype)


def volume(shape, dtype="i2", seed=0):
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype.newbyteorder("="), endpoint=True)
    values = rng.normal(0, 100, shape)
    return (values + 1j * rng.normal(0, 1, shape) if dtype.kind == "c" else values).astype(dtype)


def save(path, array, affine=AFFINE, endian="<", slope=1.0, inter=0.0, cls=nib.Nifti1Header):
    """Voxels as they are, with a slope and an intercept beside them."""
    header = cls(endianness=endian)
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    if affine is not None:
        header.set_sform(affine, 1)
    header["vox_offset"] = header.single_vox_offset
    header["scl_slope"], header["scl_inter"] = slope, inter
    voxels = array.astype(array.dtype.newbyteorder(endian)).tobytes(order="F")
    raw = header.binaryblock + bytes(4) + voxels
    path.write_bytes(gzip.compress(raw, 1, mtime=0) if path.name.endswith(".gz") else raw)
    return path


# --- Against nibabel --------------------------------------------------------------------------


@pytest.mark.parametrize("path", real_files())
def test_real_files(path):
    source, image = open_nifti(path), nib.load(path)
    assert np.array_equal(source.affine, image.affine)
    expected = by_nibabel(path, source.dtype)
    assert whole(source).dtype == source.dtype
    assert np.array_equal(whole(source), expected, equal_nan=True)
    voxels, digest = streamed(source, planes=5)
    assert np.array_equal(voxels, expected, equal_nan=True)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    stored = np.asanyarray(image.dataobj.get_unscaled())
    assert source.unscaled().dtype == stored.dtype.newbyteorder("=")
    first = source.unscaled().read(Selection.whole(source.shape)[0:1, :, :, :])[0]
    assert np.array_equal(first, stored[..., 0] if stored.ndim == 4 else stored, equal_nan=True)


@pytest.mark.parametrize(
    ("suffix", "endian", "dtype"), in_turns([".nii", ".nii.gz"], ["<", ">"], DTYPES)
)
def test_types_byte_orders_and_scalings(tmp_path, suffix, endian, dtype):
    array = volume((5, 4, 3), dtype)
    for cls, slope in itertools.product(
        [nib.Nifti1Header, nib.Nifti2Header],
        [(1.0, 0.0), (0.375, -5.5), (0.1, 1e6), (0.0, 3.0), (np.nan, np.nan)],
    ):
        path = save(tmp_path / f"a{suffix}", array, None, endian, *slope, cls=cls)
        source = open_nifti(path)
        assert np.array_equal(source.affine, nib.load(path).affine)
        assert source.dtype.isnative
        assert (source.scaling is not None) == (slope in [(0.375, -5.5), (0.1, 1e6)])
        expected = by_nibabel(path, source.dtype)
        assert np.array_equal(whole(source), expected)
        assert np.array_equal(streamed(source, planes=2)[0], expected)
        assert np.array_equal(whole(source.unscaled())[0], array)
        part = Selection.whole(source.shape)[::-2, 1:3, 1]
        assert np.array_equal(source.read(part), expected[:, ::-2, 1:3, 1:2])


def test_the_dtype_follows_the_promotion_table(tmp_path):
    wanted = {"u1": "f4", "i2": "f4", "u2": "f4", "i4": "f8", "i8": "f8", "f4": "f4", "f8": "f8"}
    for stored, dtype in wanted.items():
        source = open_nifti(save(tmp_path / "a.nii", volume((2, 2, 2), stored), slope=0.5))
        assert (source.dtype, source.scaling) == (np.dtype(dtype), Scaling(0.5, 0.0))
        assert whole(source).dtype == dtype


@pytest.mark.parametrize("components", [3, 4])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_colours(tmp_path, suffix, components):
    fields = [(name, "u1") for name in "RGBA"[:components]]
    values = volume((5, 4, 3, components), "u1")
    image = nib.Nifti1Image(values.view(fields)[..., 0], AFFINE)
    nib.save(image, tmp_path / f"a{suffix}")
    source = open_nifti(tmp_path / f"a{suffix}")
    expected = np.moveaxis(values, -1, 0)
    assert source.channels.kind == "channel"
    assert source.chunks == source.shape
    assert np.array_equal(whole(source), expected)
    assert np.array_equal(streamed(source, planes=2)[0], expected)
    part = Selection.whole(source.shape)[1:, ::-1, 2, :]
    assert np.array_equal(source.read(part), expected[1:, ::-1, 2:3])


def test_vectors_and_series(tmp_path):
    array = volume((5, 4, 3, 1, 6))
    source = open_nifti(save(tmp_path / "a.nii", array))
    assert source.channels.kind == "channel"
    assert np.array_equal(whole(source), np.moveaxis(array[..., 0, :], -1, 0))
    source = open_nifti(save(tmp_path / "b.nii", array[..., 0, :]))
    assert source.channels.kind == "time"
    assert np.array_equal(whole(source), np.moveaxis(array[..., 0, :], -1, 0))


# --- Selections -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """One array as plain and compressed file, scaled and not, with the voxels expected."""
    folder = tmp_path_factory.mktemp("zoo")
    array = volume((9, 8, 7, 3))
    found = []
    for suffix, slope in itertools.product([".nii", ".nii.gz"], [1.0, 0.25]):
        path = save(folder / f"{slope}{suffix}", array, slope=slope, endian=">")
        found.append((open_nifti(path), by_nibabel(path, "i2" if slope == 1 else "f4")))
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data(), st.integers(0, 3), st.sampled_from(["512 MiB", "1 kB"]))
def test_any_selection_equals_numpys(zoo, data, number, limit):
    source, expected = zoo[number]
    key = data.draw(index_expressions(source.shape))
    selection = Selection.whole(source.shape)[key]
    with dask.config.set({"voxarray.gzip-whole-limit": limit}):
        source = open_nifti(source.path)
        voxels = source.read(selection)
    assert voxels.shape == selection.shape
    assert np.array_equal(voxels, expected[np.ix_(*selection)])


def test_selections_beyond_the_image_are_refused(zoo):
    for source, _ in zoo:
        c, w, h, d = source.shape
        with pytest.raises(OutOfRangeError):
            source.read(Selection.box((0, c), (0, w), (0, h), (0, d + 1)))


def test_a_part_of_a_large_plain_file_reads_only_what_it_needs(tmp_path):
    path = tmp_path / "sparse.nii"
    header = nib.Nifti1Header()
    header.set_data_shape((2000, 2000, 2000))
    header.set_data_dtype(np.int16)
    path.write_bytes(header.binaryblock + bytes(4))
    os.truncate(path, 352 + 2 * 2000**3)  # a hole of 16 GB
    start = time.process_time()
    source = open_nifti(path)
    assert not source.read(Selection.whole(source.shape)[1000:1096, 1000:1096, 900:996]).any()
    assert source.read(Selection.whole(source.shape)[:, :, 77]).shape == (1, 2000, 2000, 1)
    assert time.process_time() - start < 5


# --- Files that are wrong, or change ----------------------------------------------------------


def test_truncated_plain_file(tmp_path):
    path = save(tmp_path / "a.nii", volume((8, 8, 8)))
    os.truncate(path, 700)
    with pytest.raises(TruncatedError, match="promises 1376 bytes, but the file has 700") as caught:
        open_nifti(path)
    assert caught.value.path == str(path)
    for size in (0, 1, 347, 351):
        os.truncate(path, size)
        with pytest.raises((TruncatedError, FormatError)):
            open_nifti(path)


def test_missing_file(tmp_path):
    with pytest.raises(MissingFileError):
        open_nifti(tmp_path / "a.nii")


def test_pairs_are_refused_by_name(tmp_path):
    nib.save(nib.Nifti1Pair(volume((3, 3, 3)), AFFINE), tmp_path / "a.hdr")
    with pytest.raises(UnsupportedError, match="another file") as caught:
        open_nifti(tmp_path / "a.hdr")
    assert caught.value.code == "NIFTI_PAIR"


def _overwrite(path):
    data = bytearray(path.read_bytes())
    data[-30] ^= 255
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))


def _replace(path):
    twin = path.with_name("twin")
    shutil.copy2(path, twin)
    os.replace(twin, path)


CHANGES = {
    "overwritten": _overwrite,
    "truncated": lambda path: os.truncate(path, path.stat().st_size - 1),
    "grown": lambda path: os.truncate(path, path.stat().st_size + 1),
    "replaced": _replace,
    "deleted": os.unlink,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("is_warm", [False, True])
def test_changed_files_are_noticed(tmp_path, name, change, is_warm):
    path = save(tmp_path / name, volume((8, 8, 8)))
    source = open_nifti(path)
    part = Selection.whole(source.shape)[2:4]
    if is_warm:
        source.read(part)
    CHANGES[change](path)
    with pytest.raises(SourceChangedError) as caught:
        source.read(part)
    assert caught.value.path == str(path)
    with pytest.raises(SourceChangedError):
        whole(source)
    with pytest.raises(SourceChangedError):
        source.stream()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_files_that_change_while_they_are_streamed(tmp_path, name):
    path = save(tmp_path / name, volume((64, 64, 40)))
    source = open_nifti(path)
    out = np.empty((1, 20, 64, 64), np.int16)
    with source.stream() as stream:
        stream.read_into(out)
        os.utime(path, ns=(1, 1))
        with pytest.raises(SourceChangedError):
            stream.read_into(out)


def test_neighbours_do_not_mix(tmp_path):
    plain, packed = volume((4, 4, 4), seed=1), volume((4, 4, 4), seed=2)
    save(tmp_path / "a.nii", plain)
    save(tmp_path / "a.nii.gz", packed)
    assert np.array_equal(whole(open_nifti(tmp_path / "a.nii"))[0], plain)
    assert np.array_equal(whole(open_nifti(tmp_path / "a.nii.gz"))[0], packed)


def test_names_may_lie(tmp_path):
    array = volume((4, 4, 4))
    save(tmp_path / "a.nii.gz", array).rename(tmp_path / "b.nii")
    save(tmp_path / "a.nii", array).rename(tmp_path / "b.nii.gz")
    for name in ("b.nii", "b.nii.gz"):
        assert np.array_equal(whole(open_nifti(tmp_path / name))[0], array)


def test_remarks_are_warnings(tmp_path):
    path = save(tmp_path / "a.nii", volume((4, 4, 4)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_nifti(path)
    data = bytearray(path.read_bytes())
    data[72] = 7
    path.write_bytes(data)
    with pytest.warns(VoxarrayWarning, match="BITPIX_MISMATCH"):
        open_nifti(path)


# --- Being carried around ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_pickle_and_token(tmp_path, name):
    path = save(tmp_path / name, volume((6, 5, 4)), slope=0.5)
    source = open_nifti(path)
    again = pickle.loads(pickle.dumps(source))
    assert np.array_equal(whole(again), whole(source))
    assert again.token() == source.token() == open_nifti(path).token()
    assert again.chunks == source.chunks
    assert source.unscaled().token() != source.token()
    os.utime(path, ns=(1, 1))
    assert open_nifti(path).token() != source.token()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("limit", ["512 MiB", "1 kB"])
def test_threads(tmp_path, name, limit):
    array = volume((32, 32, 32))
    path = save(tmp_path / name, array)
    with dask.config.set({"voxarray.gzip-whole-limit": limit}):
        source = open_nifti(path)
        keys = [np.s_[a : a + 9, b : b + 5, ::-1] for a in range(0, 23, 2) for b in range(0, 27, 3)]
        with ThreadPoolExecutor(8) as pool:
            parts = list(
                pool.map(lambda key: source.read(Selection.whole(source.shape)[key]), keys)
            )
    for key, part in zip(keys, parts, strict=True):
        assert np.array_equal(part[0], array[key])


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forks(tmp_path, name):
    array = volume((32, 32, 32))
    source = open_nifti(save(tmp_path / name, array))
    part = Selection.whole(source.shape)[3:20, 5:9]
    source.read(part)
    child = os.fork()
    if child == 0:
        good = np.array_equal(source.read(part)[0], array[3:20, 5:9])
        good &= np.array_equal(whole(pickle.loads(pickle.dumps(source)))[0], array)
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.array_equal(source.read(part)[0], array[3:20, 5:9])


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_opening_reads_no_voxels(tmp_path, name):
    path = save(tmp_path / name, volume((64, 64, 64)))
    with count_reads() as reads:
        source = open_nifti(path)
        assert source.shape
        assert source.affine is not None
        assert source.chunks
        assert source.token()
        assert source.nifti_header
        assert source.grid
        assert repr(source)
        pickle.loads(pickle.dumps(source))
    assert (reads.calls, reads.streamed, reads.voxels, reads.passes, reads.decoded) == (0,) * 5


def test_the_folder_is_left_alone(tmp_path):
    path = save(tmp_path / "a.nii.gz", volume((16, 16, 16)))
    before = path.stat()
    with dask.config.set({"voxarray.gzip-whole-limit": 1}):
        source = open_nifti(path)
        source.read(Selection.whole(source.shape)[3:5])
        streamed(source)
    assert os.listdir(tmp_path) == ["a.nii.gz"]
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (before.st_mtime_ns, before.st_size)


def test_closed_streams_say_so(tmp_path):
    from voxarray.core.errors import StateError

    stream = open_nifti(save(tmp_path / "a.nii", volume((4, 4, 4)))).stream()
    stream.close()
    stream.close()
    with pytest.raises(StateError, match="closed"):
        stream.finish()
