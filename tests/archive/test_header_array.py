"""The NIfTI header in an archive: small, and for every reader of Zarr the bytes it was made of."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import zarr
from archive_samples import OBLIQUE, archive, blobs, reseal
from hypothesis import given
from hypothesis import strategies as st

from voxarray.archive import header_array
from voxarray.archive.source import open_archive
from voxarray.archive.verify import verify
from voxarray.core.errors import FormatError
from voxarray.nifti_header.build import header_for
from voxarray.nifti_header.fields import HEADER_BYTES

LARGE = (1, 40_000, 1, 1)
"""Voxels along x, of which only NIfTI-2 can have so many."""

headers = st.sampled_from(sorted(HEADER_BYTES.values())).flatmap(
    lambda size: st.binary(min_size=size, max_size=size)
)


def decoded(files: dict[str, bytes]) -> bytes:
    return header_array.decoded(files[header_array.KEY], files["zarr.json"], "a.ome.zarr/nifti")


def stored(folder: Path, files: dict[str, bytes]) -> Path:
    for key, data in files.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)
    return folder


@given(headers)
def test_any_header_is_what_it_was(header):
    assert decoded(header_array.encoded(header)) == header


@pytest.mark.parametrize("shape", [(1, 9, 8, 12), LARGE])
@pytest.mark.parametrize("affine", [np.eye(4), OBLIQUE])
def test_other_readers_find_the_header(tmp_path, shape, affine):
    header = header_for(shape, np.dtype("i2"), affine)
    files = header_array.encoded(header)
    assert b"blosc" in files["zarr.json"]
    folder = stored(tmp_path / "nifti", files)
    assert zarr.open_array(folder, mode="r")[:].tobytes() == header
    store = {"driver": "file", "path": str(folder)}
    opened = tensorstore.open({"driver": "zarr3", "kvstore": store}).result()
    assert opened.read().result().tobytes() == header


def test_the_header_and_its_document_take_few_bytes(tmp_path):
    path = archive(tmp_path / "a.ome.zarr", blobs((1, 9, 8, 12)), OBLIQUE)
    files = [path / "nifti" / key for key in ("zarr.json", header_array.KEY)]
    assert sum(file.stat().st_size for file in files) < 600


def test_what_compression_would_not_make_smaller_is_left():
    header = np.random.default_rng(0).bytes(348)
    files = header_array.encoded(header)
    assert files[header_array.KEY][:-4] == header
    assert b"blosc" not in files["zarr.json"]


def test_an_uncompressed_header_of_earlier_archives_is_read(tmp_path):
    path = archive(tmp_path / "a.ome.zarr", blobs((1, 9, 8, 12)), OBLIQUE)
    header = open_archive(path).nifti_header
    document = json.loads((path / "nifti/zarr.json").read_bytes())
    document["codecs"] = [{"name": "bytes"}, {"name": "crc32c"}]
    document["chunk_key_encoding"] = {"name": "default", "configuration": {"separator": "/"}}
    document["attributes"] = {}
    (path / "nifti/zarr.json").write_text(json.dumps(document))
    zarr.open_array(path / "nifti", mode="r+")[:] = np.frombuffer(header, np.uint8)
    assert (path / "nifti" / header_array.KEY).read_bytes()[:-4] == header
    reseal(path)
    assert open_archive(path).nifti_header == header
    assert verify(path) == []


LIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no codecs": lambda document: document.pop("codecs"),
    "codecs of others": lambda document: document.update(codecs=[{"name": "gzip"}]),
    "codecs that are none": lambda document: document.update(codecs=7),
    "two axes": lambda document: document.update(shape=[2, 174]),
    "no shape": lambda document: document.pop("shape"),
    "more than there is": lambda document: document.update(shape=[540]),
    "more than memory holds": lambda document: document.update(shape=[10**12]),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_document_that_does_not_fit_is_refused_by_name(tmp_path, lie):
    path = archive(tmp_path / "a.ome.zarr", blobs((1, 9, 8, 12)), OBLIQUE)
    document = json.loads((path / "nifti/zarr.json").read_bytes())
    LIES[lie](document)
    (path / "nifti/zarr.json").write_text(json.dumps(document))
    reseal(path)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="NIfTI header") as caught:
            _ = open_archive(path).nifti_header
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()
    assert (caught.value.code, caught.value.path) == ("BAD_METADATA", str(path / "nifti"))
    assert verify(path) != []


@pytest.mark.parametrize("document", [b"", b"[]", b"{" * 100_000, b"[" * 100_000, b"\xff"])
def test_a_document_that_is_none_is_refused_by_name(document):
    files = header_array.encoded(header_for((1, 9, 8, 12), np.dtype("i2"), OBLIQUE))
    with pytest.raises(FormatError, match="NIfTI header"):
        decoded(files | {"zarr.json": document})


@pytest.mark.parametrize("size", [0, 3, 15, 16, 60])
def test_a_chunk_that_ends_too_early_is_refused_by_name(size):
    files = header_array.encoded(header_for((1, 9, 8, 12), np.dtype("i2"), OBLIQUE))
    with pytest.raises(FormatError, match="NIfTI header"):
        decoded(files | {header_array.KEY: files[header_array.KEY][:size]})
