"""Files that are compressed as a whole: gzip, bzip2, xz and Zstandard are read alike."""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

import voxarray as vx
from voxarray.cohort.run.build import build
from voxarray.core.errors import ChecksumError, FormatError, TruncatedError, VoxarrayError
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection
from voxarray.source.block_cache import BLOCKS

zstd = pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

PACK = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: zstd.compress(data, 3),
}
CODECS = list(PACK)
SHAPE = (17, 13, 11)
AFFINE = np.array([[0, -1.0, 0, 9], [0, 0, 2.0, -4], [1.5, 0, 0, 3], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def _forget():
    BLOCKS.clear()


@pytest.fixture
def voxels():
    return np.random.default_rng(0).integers(-900, 900, SHAPE).astype("i2")


def packed(path, codec, data=None):
    """The file compressed, under its name with the codec's suffix."""
    target = path.with_name(path.name + codec)
    target.write_bytes(PACK[codec](path.read_bytes() if data is None else data))
    return target


def whole(path):
    source = open_source(path)
    return source.read(Selection.whole(source.shape))[0]


def saved(tmp_path, voxels, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix in (".gipl", ".mgh"):
        affine = np.diag([-1.5, -1, 2, 1]) if suffix == ".gipl" else AFFINE
        vx.ScalarImage(tensor=voxels[None], affine=affine).save(path)
    else:
        kind = nib.Nifti1Image if suffix == ".nii" else nib.Nifti1Pair
        nib.save(kind(voxels, AFFINE), path)
    return path


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("suffix", [".nii", ".mgh", ".gipl", ".hdr"])
def test_a_compressed_file_is_the_same_image(tmp_path, voxels, suffix, codec):
    path = saved(tmp_path, voxels, suffix)
    plain = vx.ScalarImage(path)
    expected, affine = plain.numpy(), plain.affine
    target = packed(path, codec)
    if suffix == ".hdr":
        packed(tmp_path / "a.img", codec)
        (tmp_path / "a.img").unlink()
    path.unlink()
    image = vx.ScalarImage(target)
    np.testing.assert_array_equal(image.affine, affine)
    assert image.shape == (1, *SHAPE)
    np.testing.assert_array_equal(image[3:9, ::-2, 5].numpy(), expected[:, 3:9, ::-2, 5:6])
    np.testing.assert_array_equal(image.numpy(), expected)
    np.testing.assert_array_equal(image.array.values, expected)
    assert image.dtype == voxels.dtype
    np.testing.assert_array_equal(image.to_nibabel().dataobj[2], expected[0, 2])


@pytest.mark.parametrize("codec", [".bz2", ".zst", ".gz"])
def test_nibabel_reads_the_same(tmp_path, voxels, codec):
    path = tmp_path / f"a.nii{codec}"
    nib.save(nib.Nifti1Image(voxels, AFFINE), path)
    np.testing.assert_array_equal(whole(path), np.asarray(nib.load(path).dataobj))


@pytest.mark.parametrize("codec", CODECS)
def test_several_members_are_one_file(tmp_path, voxels, codec):
    data = saved(tmp_path, voxels, ".nii").read_bytes()
    for cuts in ([100], [352, 1000], [1, 2, 3]):
        ends = [0, *cuts, len(data)]
        parts = [PACK[codec](data[a:b]) for a, b in itertools.pairwise(ends)]
        path = tmp_path / f"b{len(cuts)}.nii{codec}"
        path.write_bytes(b"".join(parts))
        np.testing.assert_array_equal(whole(path), voxels)
    if codec == ".zst":  # frames that hold something else, as pzstd writes
        skipped = b"\x50\x2a\x4d\x18\x04\0\0\0\1\2\3\4"
        path.write_bytes(skipped + parts[0] + skipped + b"".join(parts[1:]) + skipped)
        np.testing.assert_array_equal(whole(path), voxels)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("suffix", [".nii", ".mgh", ".gipl"])
def test_a_file_cut_short_is_truncated(tmp_path, voxels, codec, suffix):
    data = PACK[codec](saved(tmp_path, voxels, suffix).read_bytes())
    path = tmp_path / f"b{suffix}{codec}"
    for size in (len(data) - 1, len(data) - 9, len(data) // 2, 40):
        path.write_bytes(data[:size])
        BLOCKS.clear()
        with pytest.raises(FormatError) as caught:
            whole(path)
        assert isinstance(caught.value, TruncatedError), caught.value
        assert caught.value.path == str(path)


@pytest.mark.parametrize("codec", CODECS)
def test_damage_is_found(tmp_path, voxels, codec):
    pack = PACK[codec]
    if codec == ".zst":

        def pack(data):
            return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})

    data = pack(saved(tmp_path, voxels, ".nii").read_bytes())
    path = tmp_path / f"b.nii{codec}"
    rng = np.random.default_rng(1)
    for place in rng.integers(20, len(data), 60):
        wrong = bytearray(data)
        wrong[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(wrong)
        BLOCKS.clear()
        try:
            found = whole(path)
        except VoxarrayError as error:
            assert error.path == str(path)  # noqa: PT017
            continue
        np.testing.assert_array_equal(found, voxels)  # bits that say nothing


@pytest.mark.parametrize("codec", CODECS)
def test_garbage_behind_is_an_error(tmp_path, voxels, codec):
    path = packed(saved(tmp_path, voxels, ".gipl"), codec)
    path.write_bytes(path.read_bytes() + b"garbage, and more of it")
    with pytest.raises((ChecksumError, FormatError)):
        whole(path)


@pytest.mark.parametrize("codec", CODECS)
def test_more_than_the_header_promises_is_a_bomb(tmp_path, voxels, codec):
    path = saved(tmp_path, voxels, ".gipl")
    bomb = packed(path, codec, path.read_bytes() + bytes(16 << 20))
    with pytest.raises(FormatError) as caught:
        whole(bomb)
    assert caught.value.code == "BOMB"


@pytest.mark.parametrize("codec", CODECS)
def test_headers_that_no_file_could_fulfil_are_refused(tmp_path, codec):
    header = nib.Nifti1Header()
    header.set_data_dtype("f8")
    header.set_data_shape((32767, 32767, 32767))
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    path = tmp_path / f"a.nii{codec}"
    path.write_bytes(PACK[codec](header.binaryblock + bytes(8)))
    with pytest.raises(FormatError) as caught:
        open_source(path)
    assert caught.value.code == "DIMS_EXCEED_FILE"


@pytest.mark.parametrize("codec", CODECS)
def test_real_ratios_are_allowed(tmp_path, codec):
    """What codecs make of zeros is no lie of the header."""
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.zeros((256, 256, 128), "i2"), np.eye(4)), path)
    assert not whole(packed(path, codec)).any()


def test_windows_beyond_the_limit_are_refused(tmp_path, voxels):
    data = saved(tmp_path, voxels, ".nii").read_bytes() + bytes(1 << 20)
    path = tmp_path / "b.nii.zst"
    options = {
        zstd.CompressionParameter.window_log: 30,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
        zstd.CompressionParameter.content_size_flag: 0,
    }
    maker = zstd.ZstdCompressor(options=options)
    path.write_bytes(maker.compress(data) + maker.flush())
    with pytest.raises(FormatError) as caught:
        whole(path)
    assert caught.value.code == "LARGE_WINDOW"
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 512 << 20}]
    path = tmp_path / "b.nii.xz"
    path.write_bytes(lzma.compress(data, filters=filters))
    with pytest.raises(FormatError) as caught:
        whole(path)
    assert caught.value.code == "LARGE_WINDOW"


def test_names_do_not_matter(tmp_path, voxels):
    """A compressed .nii that is named otherwise is read by what it holds."""
    data = saved(tmp_path, voxels, ".nii").read_bytes()
    for name, codec in (("b.nii", ".bz2"), ("c.nii.gz", ".zst"), ("d.nii.bz2", ".xz")):
        (tmp_path / name).write_bytes(PACK[codec](data))
        np.testing.assert_array_equal(whole(tmp_path / name), voxels)
    (tmp_path / "e.nii.bz2").write_bytes(data)
    np.testing.assert_array_equal(whole(tmp_path / "e.nii.bz2"), voxels)


@pytest.mark.parametrize("codec", CODECS)
def test_cohorts_take_them(tmp_path, voxels, codec):
    path = saved(tmp_path, voxels, ".nii")
    (tmp_path / "in").mkdir()
    packed(path, codec).rename(tmp_path / "in" / f"a.nii{codec}")
    made = build(tmp_path / "in", tmp_path / "out")
    assert (made.converted, made.failed) == (1, 0)
    cohort = vx.Cohort(tmp_path / "out")
    assert cohort.names == ["a"]
    np.testing.assert_array_equal(cohort[0]["image"].numpy()[0], voxels)


PEAK = """
import sys, resource, dask.config
from voxarray.archive.convert import convert
from voxarray.archive.projection import projected_peak
from voxarray.formats.registry import open_source
import voxarray.archive.staging, zarr
source = open_source(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with dask.config.set({"voxarray.memory-budget": "200 MiB"}):
    print(projected_peak(source) / 2**20)
    convert(source, sys.argv[2])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10)
"""


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS)
def test_large_files_are_streamed_in_bounded_memory(tmp_path, codec):
    values = np.random.default_rng(0).integers(0, 50, (512, 512, 1)).astype("i2")
    nib.save(nib.Nifti1Image(np.repeat(values, 600, 2), np.eye(4)), tmp_path / "a.nii")
    path = packed(tmp_path / "a.nii", codec)
    command = [sys.executable, "-c", PEAK, str(path), str(tmp_path / "a.ome.zarr")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    projected, measured = map(float, ran.stdout.split())
    assert measured <= projected, (measured, projected)
