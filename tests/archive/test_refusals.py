"""What an archive may not be, and what the errors say of it."""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import dask.config
import google_crc32c
import numpy as np
import pytest
from archive_samples import archive, blobs, reseal, same_bits, whole

from voxarray.archive.convert import convert
from voxarray.archive.options import Options
from voxarray.archive.source import open_archive
from voxarray.archive.verify import verify
from voxarray.core.errors import (
    ArchiveError,
    ChecksumError,
    FormatError,
    MissingDataError,
    MissingFileError,
    SourceChangedError,
    TruncatedError,
    UnsupportedError,
    VoxarrayError,
)
from voxarray.source.array import ArraySource

IMAGE = "scale0/image"
SHARD = f"{IMAGE}/c/0/0/0/0"


@pytest.fixture
def path(tmp_path) -> Path:
    return archive(tmp_path / "a.ome.zarr", blobs((1, 9, 5, 7)), chunk=2, levels=2)


def edit(file: Path, *keys: Any, value: Any) -> None:
    """Set a value in a JSON document."""
    document = json.loads(file.read_bytes())
    inner = document
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    file.write_text(json.dumps(document))


def problems(path: Path) -> list[tuple[str, str]]:
    return [(problem.code, problem.where) for problem in verify(path)]


def refusal(path: Path) -> VoxarrayError:
    """The error of reading all of an archive."""
    with pytest.raises(VoxarrayError) as caught:
        whole(path)
    return caught.value


def test_a_missing_archive_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match="there is no archive") as caught:
        open_archive(tmp_path / "b.ome.zarr")
    assert caught.value.code == "NOT_FOUND"
    with pytest.raises(MissingFileError):
        verify(tmp_path / "b.ome.zarr")


def test_a_folder_of_something_else(tmp_path):
    (tmp_path / "notes.zarr").mkdir()
    with pytest.raises(FormatError, match="not a Zarr archive") as caught:
        open_archive(tmp_path / "notes.zarr")
    assert caught.value.code == "NO_ARCHIVE"


def test_an_archive_without_a_manifest_is_refused(path):
    (path / "manifest.json").unlink()
    error = refusal(path)
    assert isinstance(error, MissingDataError)
    assert error.code == "NO_MANIFEST"
    assert "did not finish" in error.message
    assert problems(path) == [("NO_MANIFEST", "manifest.json")]


def test_a_manifest_of_the_future(path):
    document = json.loads((path / "manifest.json").read_bytes())
    document["version"] = 3
    (path / "manifest.json").write_text(json.dumps(document, separators=(",", ":")))
    assert refusal(path).code == "UNKNOWN_VERSION"


def test_metadata_of_the_future(path):
    edit(path / "zarr.json", "attributes", "voxarray", "version", value=2)
    reseal(path)
    assert refusal(path).code == "UNKNOWN_VERSION"


def test_a_missing_shard_is_named(path):
    (path / SHARD).unlink()
    error = refusal(path)
    assert isinstance(error, MissingDataError)
    assert error.code == "MISSING_DATA"
    assert SHARD in error.message
    assert error.path == str(path)
    assert problems(path) == [("MISSING_DATA", SHARD)]


def test_a_shard_that_the_manifest_does_not_know(path):
    (path / SHARD).unlink()
    reseal(path)
    assert refusal(path).code == "MISSING_DATA"
    assert [code for code, _ in problems(path)] == ["MISSING_DATA"]


def test_a_short_shard(path):
    os.truncate(path / SHARD, 100)
    error = refusal(path)
    assert isinstance(error, ArchiveError)
    assert error.code == "TRUNCATED"
    assert "100 bytes" in error.message
    assert problems(path) == [("BAD_CHECKSUM", SHARD)]


def test_a_long_shard(path):
    with (path / SHARD).open("ab") as file:
        file.write(b"more")
    assert refusal(path).code == "BAD_SIZE"


def test_a_shard_without_room_for_its_index(path):
    (path / SHARD).write_bytes(b"tiny")
    reseal(path)
    assert isinstance(refusal(path), TruncatedError)


def test_an_index_that_points_elsewhere(path):
    data = bytearray((path / SHARD).read_bytes())
    slots = math.prod(open_archive(path).array.layout.chunks_per_shard)
    table = np.frombuffer(data[-(slots * 16 + 4) : -4], "<u8").reshape(-1, 2).copy()
    table[0] = 10**6, 5
    body = table.tobytes()
    data[-(slots * 16 + 4) :] = body + google_crc32c.value(body).to_bytes(4, "little")
    (path / SHARD).write_bytes(data)
    reseal(path)
    error = refusal(path)
    assert isinstance(error, FormatError)
    assert "points beyond" in error.message


def test_an_index_that_mixes_up_its_chunks(path):
    data = bytearray((path / SHARD).read_bytes())
    slots = math.prod(open_archive(path).array.layout.chunks_per_shard)
    table = data[-(slots * 16 + 4) : -4]
    entries = [table[n : n + 16] for n in range(0, len(table), 16)]
    data[-(slots * 16 + 4) : -4] = b"".join(entries[::-1])  # each chunk whole, in another's place
    (path / SHARD).write_bytes(data)
    reseal(path)
    error = refusal(path)
    assert isinstance(error, ChecksumError)
    assert "index" in error.message


def test_a_flipped_chunk_is_named(path):
    data = bytearray((path / SHARD).read_bytes())
    data[3] ^= 1
    (path / SHARD).write_bytes(data)
    error = refusal(path)
    assert isinstance(error, ChecksumError)
    assert SHARD in error.message
    assert "chunk (0, " in error.message


@pytest.mark.parametrize(
    "body", [b"", b"short", b"\x02\x01\x33\x02" + struct.pack("<III", 16, 16, 9)]
)
def test_a_chunk_whose_checksum_is_right_and_whose_blosc_is_wrong(path, body):
    codec = open_archive(path).array.codec
    encoded = body + google_crc32c.value(body).to_bytes(4, "little")
    with pytest.raises(FormatError, match="blosc"):
        codec.decode(np.frombuffer(encoded, np.uint8), np.empty(8, np.int16))


def test_a_chunk_of_another_size(path):
    codec = open_archive(path).array.codec
    encoded = b"".join(codec.encode(np.arange(8, dtype=np.int16)))
    with pytest.raises(FormatError, match="decode to 16 bytes, but the layout says 18") as caught:
        codec.decode(np.frombuffer(encoded, np.uint8), np.empty(9, np.int16))
    assert caught.value.code == "BAD_CHUNK_SIZE"


def test_a_bomb_is_refused_before_memory_is_taken(path):
    codecs = ("codecs", 0, "configuration", "chunk_shape")
    edit(path / IMAGE / "zarr.json", *codecs, value=[1, 1024, 1024, 1024])
    edit(
        path / IMAGE / "zarr.json",
        *("chunk_grid", "configuration", "chunk_shape"),
        value=[1, 1024, 1024, 1024],
    )
    reseal(path)
    error = refusal(path)
    assert error.code == "BOMB"
    assert "chunk-limit" in error.message


def test_the_limit_of_chunks_is_a_setting(path):
    with dask.config.set({"voxarray.chunk-limit": "8 B"}):
        assert refusal(path).code == "BOMB"
    assert whole(path).any()


def test_no_archive_is_written_that_would_be_refused(tmp_path):
    with (
        dask.config.set({"voxarray.chunk-limit": "1 kiB"}),
        pytest.raises(FormatError, match="smaller chunks") as caught,
    ):
        archive(tmp_path / "a.ome.zarr", blobs((1, 16, 16, 16)))
    assert caught.value.code == "BAD_CHUNK"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "chain",
    [
        [{"name": "bytes"}, {"name": "zstd"}, {"name": "crc32c"}],
        [{"name": "bytes", "configuration": {"endian": "big"}}, {"name": "crc32c"}],
        [{"name": "pickle"}],
        [],
    ],
)
def test_an_unknown_codec(path, chain):
    edit(path / IMAGE / "zarr.json", "codecs", 0, "configuration", "codecs", value=chain)
    reseal(path)
    error = refusal(path)
    assert isinstance(error, UnsupportedError)
    assert error.code == "UNKNOWN_CODEC"


@pytest.mark.parametrize(
    ("keys", "value", "code"),
    [
        (("data_type",), "object", "UNSUPPORTED_DTYPE"),
        (("data_type",), "int7", "BAD_METADATA"),
        (("fill_value",), 7, "UNKNOWN_CODEC"),
        (("shape",), [9, 5, 7], "BAD_METADATA"),
        (("shape",), [1, -7, 5, 9], "BAD_LAYOUT"),
        (("codecs", 0, "configuration", "index_location"), "start", "UNKNOWN_CODEC"),
        (("codecs", 0, "configuration", "chunk_shape"), [1, 0, 2, 2], "BAD_LAYOUT"),
        (("chunk_key_encoding", "configuration", "separator"), ".", "UNKNOWN_CODEC"),
    ],
)
def test_array_documents_that_are_not_ours(path, keys, value, code):
    edit(path / IMAGE / "zarr.json", *keys, value=value)
    reseal(path)
    assert refusal(path).code == code


@pytest.mark.parametrize("ours", [None, {}, {"version": 1}, {"version": 1, "affine": "east"}, []])
def test_image_documents_that_are_not_ours(path, ours):
    edit(path / "zarr.json", "attributes", "voxarray", value=ours)
    reseal(path)
    assert refusal(path).code == "BAD_METADATA"


def test_a_pyramid_that_does_not_fit_its_levels(path):
    edit(path / "zarr.json", "attributes", "voxarray", "factors", value=[[1, 1, 1]])
    reseal(path)
    with pytest.raises(FormatError, match="but the factors of its pyramid give") as caught:
        open_archive(path).level(1)
    assert caught.value.code == "BAD_METADATA"
    assert problems(path) != []


def test_links_are_not_followed(path, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.move(path / SHARD, elsewhere)
    (path / SHARD).symlink_to(elsewhere)
    error = refusal(path)
    assert error.code == "SYMLINK"
    assert SHARD in error.message
    assert ("SYMLINK", SHARD) in problems(path)


@pytest.mark.parametrize("folder", ["scale0", "scale0/image", "scale0/image/c/0/0"])
def test_linked_folders_are_not_followed(path, tmp_path, folder):
    shutil.move(path / folder, tmp_path / "elsewhere")
    (path / folder).symlink_to(tmp_path / "elsewhere")
    error = refusal(path)
    assert error.code == "SYMLINK"
    assert f"{folder} of" in error.message


def test_a_link_to_an_archive_is_followed(path, tmp_path):
    (tmp_path / "link").mkdir()
    (tmp_path / "link/a.ome.zarr").symlink_to(path)
    assert same_bits(whole(tmp_path / "link/a.ome.zarr"), whole(path))


def test_a_pipe_is_no_file(path):
    (path / SHARD).unlink()
    os.mkfifo(path / SHARD)
    assert refusal(path).code == "MISSING_DATA"
    assert ("MISSING_DATA", SHARD) in problems(path)


def test_a_label_map_that_is_not_there(path):
    told = (
        r"no label map 'brain'; its label maps are \[\].*add it again \(voxarray add-labels\)"
        r".*--overwrite"
    )
    with pytest.raises(MissingFileError, match=told):
        open_archive(path / "labels/brain")


# --- An archive that changes while it is open ---------------------------------------------------


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ozx"])
def test_a_reader_of_an_overwritten_archive_never_mixes(tmp_path, suffix):
    old, new = blobs((1, 9, 9, 9)), blobs((1, 9, 9, 9), seed=5)
    path = archive(tmp_path / f"a{suffix}", old, np.eye(4), chunk=2)
    opened = open_archive(path)
    convert(
        ArraySource(new, np.diag([2.0, 2, 2, 1])), path, options=Options(chunk=2, overwrite=True)
    )
    with pytest.raises(SourceChangedError, match=r"open it again|deleted|changed"):
        whole(opened)
    again = open_archive(path)
    assert same_bits(whole(again), new)
    assert again.grid.spacing == (2, 2, 2)


def test_an_open_shard_of_an_archive_that_was_replaced(tmp_path):
    """Its old voxels could still be read, but others could not: what is cached decides nothing."""
    old, new = blobs((1, 9, 9, 9)), blobs((1, 9, 9, 11), seed=5)
    path = archive(tmp_path / "a.ome.zarr", old, np.eye(4), levels=2)
    opened = open_archive(path)
    assert same_bits(whole(opened), old)
    convert(ArraySource(new, np.eye(4)), path, options=Options(levels=2, overwrite=True))
    with pytest.raises(SourceChangedError, match="replaced"):
        whole(opened)
    with pytest.raises(SourceChangedError, match="replaced"):
        opened.level(1)  # whose document would be that of the new archive


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ozx"])
def test_a_reader_of_a_deleted_archive(tmp_path, suffix):
    path = archive(tmp_path / f"a{suffix}", blobs((1, 9, 9, 9)), chunk=2)
    opened = open_archive(path)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(SourceChangedError, match="deleted"):
        whole(opened)


# --- Zip files ----------------------------------------------------------------------------------


def test_a_file_that_is_no_zip(tmp_path):
    (tmp_path / "a.ozx").write_bytes(b"not a zip at all")
    with pytest.raises(FormatError, match="not a readable zip") as caught:
        open_archive(tmp_path / "a.ozx")
    assert caught.value.code == "BAD_ZIP"
    assert problems(tmp_path / "a.ozx") == [("BAD_ZIP", "manifest.json")]


def test_a_zip_that_is_compressed(path, tmp_path):
    packed = tmp_path / "a.ozx"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        for file in path.rglob("*"):
            if file.is_file():
                out.write(file, file.relative_to(path))
    with pytest.raises(FormatError, match="unzip it") as caught:
        open_archive(packed)
    assert caught.value.code == "BAD_ZIP"


def test_a_zip_packed_by_somebody_else_reads_and_is_reported(path, tmp_path):
    packed = tmp_path / "a.ozx"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as out:
        for file in path.rglob("*"):
            if file.is_file():
                out.write(file, file.relative_to(path))
    assert same_bits(whole(packed), whole(path))
    assert problems(packed) == [("BAD_CHECKSUM", str(packed))]


def test_python_and_unzip_see_a_plain_zip(tmp_path):
    path = archive(tmp_path / "a.ozx", blobs((1, 9, 5, 7)), chunk=2)
    with zipfile.ZipFile(path) as opened:
        assert opened.testzip() is None
        names = opened.namelist()
        assert names[0] == "zarr.json"
        documents = [name.endswith("zarr.json") for name in names]
        assert documents == sorted(documents, reverse=True)
        assert json.loads(opened.comment)["ome"]["version"] == "0.5"
        opened.extractall(tmp_path / "unzipped.ome.zarr")
    assert verify(tmp_path / "unzipped.ome.zarr") == []


@pytest.mark.parametrize("shift", [1_000_000, -1000])
def test_a_zip_whose_directory_lies_of_where_it_begins(tmp_path, shift):
    """Readers shift all members by what was put before the zip, here to before its beginning."""
    packed = archive(tmp_path / "a.ozx", blobs((1, 9, 5, 7)), chunk=2)
    data = bytearray(packed.read_bytes())
    at = data.rindex(b"PK\x05\x06") + 16  # offset of the directory (APPNOTE 4.3.16)
    (offset,) = struct.unpack_from("<I", data, at)
    struct.pack_into("<I", data, at, offset + shift)
    packed.write_bytes(data)
    with pytest.raises(FormatError, match="damaged in the bytes just in front of") as caught:
        open_archive(packed)
    assert caught.value.code == "BAD_ZIP"
