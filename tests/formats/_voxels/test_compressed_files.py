"""Files that are compressed as one stream: read in parts, and as a stream, in bounded memory."""

from __future__ import annotations

import bz2
import gzip
import itertools
import zlib

import dask.config
import nibabel as nib
import numpy as np
import pytest

from voxarray.core.errors import VoxarrayError
from voxarray.formats._voxels.compressed_file import INDEXES, CompressedFile
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection
from voxarray.source.block_cache import BLOCKS

SHAPE = (24, 20, 16)
SLABS = {"voxarray.gzip-whole-limit": "1 kiB", "voxarray.memory-budget": "16 MiB"}


def scan(dtype="<i2"):
    voxels = np.random.default_rng(3).integers(-500, 500, SHAPE)
    return voxels.astype(dtype)


def nrrd(encoding, data, channels=1):
    sizes = f"{channels} " * (channels > 1) + "24 20 16"
    fields = [
        "NRRD0005",
        "type: short",
        f"dimension: {3 + (channels > 1)}",
        f"sizes: {sizes}",
        *(["kinds: vector domain domain domain"] if channels > 1 else []),
        "space: left-posterior-superior",
        "space origin: (0,0,0)",
        "space directions: " + "none " * (channels > 1) + "(1,0,0) (0,1,0) (0,0,1)",
        "endian: little",
        f"encoding: {encoding}",
        "\n",
    ]
    return "\n".join(fields).encode() + data


def mha(data, channels=1):
    fields = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": False,
        "CompressedData": True,
        "CompressedDataSize": len(data),
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "0 0 0",
        "ElementSpacing": "1 1 1",
        "DimSize": "24 20 16",
        "ElementNumberOfChannels": channels,
        "ElementType": "MET_SHORT",
        "ElementDataFile": "LOCAL",
    }
    return "".join(f"{k} = {v}\n" for k, v in fields.items()).encode() + data


def members(raw):
    """Several members of a gzip file, cut anywhere."""
    cuts = [0, 1000, 1001, 9000, len(raw)]
    return b"".join(gzip.compress(raw[a:b]) for a, b in itertools.pairwise(cuts))


def streams(raw):
    return bz2.compress(raw[:5001]) + bz2.compress(raw[5001:])


def write(folder, name, array):
    """A file of any kind with these voxels, x running fastest."""
    raw = array.tobytes(order="F")
    path = folder / name
    match name:
        case "gzip.nrrd":
            path.write_bytes(nrrd("gzip", gzip.compress(raw)))
        case "members.nrrd":
            path.write_bytes(nrrd("gzip", members(raw)))
        case "bzip2.nrrd":
            path.write_bytes(nrrd("bzip2", bz2.compress(raw)))
        case "streams.nrrd":
            path.write_bytes(nrrd("bzip2", streams(raw)))
        case "zlib.mha":
            path.write_bytes(mha(zlib.compress(raw)))
        case "gzip.mha":
            path.write_bytes(mha(gzip.compress(raw)))
        case "a.mgz":
            nib.MGHImage(array, np.eye(4)).to_filename(path)
        case "a.nii.gz":
            nib.save(nib.Nifti1Image(array, np.eye(4)), path)
        case "a.img.gz":
            nib.save(nib.Nifti1Pair(array, np.eye(4)), path)
    return path


NAMES = [
    "gzip.nrrd",
    "members.nrrd",
    "bzip2.nrrd",
    "streams.nrrd",
    "zlib.mha",
    "gzip.mha",
    "a.mgz",
    "a.img.gz",
]


@pytest.fixture(autouse=True)
def nothing_kept():
    BLOCKS.clear()
    INDEXES.clear()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("slabs", [False, True])
def test_parts_are_right_in_any_order(tmp_path, name, slabs, monkeypatch):
    array = scan()
    if slabs:
        monkeypatch.setattr("voxarray.formats._voxels.compressed_file.SLAB_BYTES", 1500)
    with dask.config.set(SLABS if slabs else {}):
        source = open_source(write(tmp_path, name, array))
        assert isinstance(source, CompressedFile)
        assert (source.chunks == source.shape) is not slabs
        keys = [np.s_[3:20:4, :, 12:3:-2], np.s_[:, 5:6, :], np.s_[..., -1], np.s_[..., 0]]
        for key in [*keys, *keys]:
            part = source.read(Selection.whole(source.shape)[key])[0]
            expected = array[Selection.whole(source.shape)[key].slices()[1:]]
            assert np.array_equal(part, expected), key


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_yields_all_voxels_and_caches_no_block(tmp_path, name):
    array = scan()
    source = open_source(write(tmp_path, name, array))
    with source.stream() as stream:
        out = np.empty((1, 16, 20, 24), source.dtype)
        # Planes, rows of a plane, voxels of a row: what is contiguous may be asked for.
        stream.read_into(out[:, :3])
        stream.read_into(out[:, 3:4, :7])
        stream.read_into(out[:, 3:4, 7:8, :5])
        stream.read_into(out[:, 3:4, 7:8, 5:])
        stream.read_into(out[:, 3:4, 8:])
        stream.read_into(out[:, 4:])
        stream.finish()
    assert np.array_equal(out[0].T, array)
    assert BLOCKS.nbytes == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("slabs", [False, True])
def test_damage_is_never_silent(tmp_path, name, slabs, monkeypatch):
    if slabs:
        monkeypatch.setattr("voxarray.formats._voxels.compressed_file.SLAB_BYTES", 1500)
    path = write(tmp_path, name, scan())
    good = path.read_bytes()
    positions = [len(good) - n for n in (3, 6, 20, 400, 4000)]
    for position in positions:
        for bad in (good[:position], good[:position] + b"\xff" + good[position + 1 :]):
            if bad == good:
                continue
            path.write_bytes(bad)
            for read in (part_of, stream_of):
                with dask.config.set(SLABS if slabs else {}), pytest.raises(VoxarrayError):
                    read(path)


def part_of(path):
    source = open_source(path)
    return source.read(Selection.whole(source.shape)[..., 2])


def stream_of(path):
    source = open_source(path)
    with source.stream() as stream:
        stream.read_into(np.empty((1, 16, 20, 24), source.dtype))
        stream.finish()


def test_more_than_promised_is_a_bomb_when_parts_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("voxarray.formats._voxels.compressed_file.SLAB_BYTES", 1500)
    raw = scan().tobytes(order="F") + bytes(1 << 20)
    for name, data in (
        ("a.nrrd", nrrd("gzip", gzip.compress(raw))),
        ("b.nrrd", nrrd("bzip2", bz2.compress(raw))),
        ("a.mha", mha(zlib.compress(raw))),
    ):
        (tmp_path / name).write_bytes(data)
        with dask.config.set(SLABS), pytest.raises(VoxarrayError) as caught:
            part_of(tmp_path / name)
        assert caught.value.code == "BOMB"


def test_parts_in_order_are_decoded_in_one_pass(tmp_path, monkeypatch):
    monkeypatch.setattr("voxarray.formats._voxels.compressed_file.SLAB_BYTES", 1500)
    path, made = write(tmp_path, "bzip2.nrrd", scan()), []
    with dask.config.set(SLABS):
        source = open_source(path)
        feed = type(source.decoder).feed
        monkeypatch.setattr(
            type(source.decoder), "feed", lambda self, fd: made.append(1) or feed(self, fd)
        )
        for z in range(16):
            source.read(Selection.whole(source.shape)[..., z])
        assert len(made) == 2  # one for the index, one for all parts
        BLOCKS.clear()
        source.read(Selection.whole(source.shape)[..., 0])
        assert len(made) == 3


def test_components_that_stand_together_are_read(tmp_path):
    voxels = np.random.default_rng(1).integers(0, 99, (3, *SHAPE)).astype("<i2")
    raw = voxels.tobytes(order="F")
    for name, data in (
        ("a.nrrd", nrrd("gzip", gzip.compress(raw), 3)),
        ("a.mha", mha(zlib.compress(raw), 3)),
    ):
        (tmp_path / name).write_bytes(data)
        source = open_source(tmp_path / name)
        assert np.array_equal(source.read(Selection.whole(source.shape)), voxels)
        with source.stream() as stream:
            out = np.empty((3, 16, 20, 24), source.dtype)
            stream.read_into(out)
        assert np.array_equal(out.transpose(0, 3, 2, 1), voxels)
