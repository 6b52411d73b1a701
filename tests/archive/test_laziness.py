"""Opening, slicing and looking at an archive of any size touches no voxel."""

from __future__ import annotations

import itertools
import math
import os
import pickle
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dask.config
import numpy as np
import pytest
from archive_samples import OBLIQUE, archive, blobs

import voxarray as vx
from voxarray.archive import handle_cache
from voxarray.archive.codecs import Codec
from voxarray.archive.documents import chunk_key
from voxarray.archive.metadata import IMAGE, level_name
from voxarray.archive.options import Options
from voxarray.archive.shard import ShardWriter
from voxarray.archive.source import open_archive
from voxarray.archive.staging import publish, staging
from voxarray.archive.verify import verify
from voxarray.archive.write_plan import WritePlan
from voxarray.cli.info import describe
from voxarray.geometry.selection import Selection
from voxarray.source.array import ArraySource

VAST = (1, 2048, 2048, 4096)  # 16 GiB as bytes


@dataclass
class Counts:
    """Shards opened and chunks decoded while a block runs."""

    shards: list[str] = field(default_factory=list)
    chunks: int = 0


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch):
    counts = Counts()
    decode, opening = Codec.decode, handle_cache._open

    def counted_decode(self, *arguments):
        counts.chunks += 1
        return decode(self, *arguments)

    def counted_open(store, opened, key, chunks):
        counts.shards.append(key)
        return opening(store, opened, key, chunks)

    # Compiled loops decode chunks without asking the codec.
    with monkeypatch.context() as patch, dask.config.set({"voxarray.compiled-loops": False}):
        patch.setattr(Codec, "decode", counted_decode)
        patch.setattr(handle_cache, "_open", counted_open)
        yield counts


@pytest.fixture(scope="module")
def vast(tmp_path_factory) -> Path:
    """An archive of 16 GiB of background, as the writer makes it: shards of an index alone."""
    path = tmp_path_factory.mktemp("vast") / "a.ome.zarr"
    nothing = np.broadcast_to(np.zeros((), np.uint8), VAST)
    plan = WritePlan.of(ArraySource(nothing, OBLIQUE), "intensity", (), Options())
    with staging(path, overwrite=False) as area:
        for number, layout in enumerate(plan.layouts):
            for position in layout.shards():
                key = f"{level_name(number)}/{IMAGE}/{chunk_key(position)}"
                shard = ShardWriter(f"{area.root}/{key}", math.prod(layout.chunks_per_shard))
                area.record(key, shard.finish())
                os.close(shard.fd)
        plan.write_documents(area, "", plan.usual_codec)
        area.seal({})
        publish(area.root, str(path), overwrite=False)
    return path


def test_a_vast_archive_passes_verify(vast):
    opened = open_archive(vast)
    assert opened.shape == VAST
    assert len(list(opened.array.layout.shards())) == 1024
    assert opened.levels > 6
    assert verify(vast) == []


def test_looking_at_a_vast_archive_decodes_nothing(vast, monkeypatch):
    with counting(monkeypatch) as counts:
        image = vx.ScalarImage(vast)
        part = image[100:1000:3, ::-1, 7]
        for seen in (image, part):
            assert "2048" in repr(seen) or "300" in repr(seen)
            assert seen.shape
            assert seen.spacing
            pickle.loads(pickle.dumps(seen))
        opened = open_archive(vast)
        for number in range(opened.levels):
            level = opened.level(number)
            assert level.grid.shape
            assert level.token()
        assert describe(opened)
        assert image.array.shape == VAST
        assert opened.bytes_on_disk > 0
        assert opened.nifti_header is not None
    assert (counts.shards, counts.chunks) == ([], 0)


def test_a_patch_of_a_vast_archive_opens_the_shards_it_touches(vast, monkeypatch):
    opened = open_archive(vast)
    chosen = Selection.whole(VAST)[100:1900, 10:20, 3990:4096]
    with counting(monkeypatch) as counts:
        patch = opened.read(chosen)
    assert patch.shape == (1, 1800, 10, 106)
    assert not patch.any()
    n, x, y, z = chosen
    touched = [
        {index // edge for index in axis}
        for axis, edge in zip((n, z, y, x), opened.array.layout.shard, strict=True)
    ]
    expected = {f"scale0/image/{chunk_key(place)}" for place in itertools.product(*touched)}
    assert len(expected) > 1
    assert set(counts.shards) == expected
    assert counts.chunks == 0  # background has no chunks


def test_a_voxel_decodes_its_chunk_and_no_other(tmp_path, monkeypatch):
    path = archive(tmp_path / "a.ome.zarr", blobs((1, 64, 64, 64)) + 1, chunk=16)
    opened = open_archive(path)
    for key, chunks in (((40, 40, 40), 1), ((slice(10, 20), 40, 40), 2), ((...,), 64)):
        with counting(monkeypatch) as counts:
            opened.read(Selection.whole(opened.shape)[key])
        assert counts.chunks == chunks


def test_strides_read_only_chunks_they_meet(tmp_path, monkeypatch):
    path = archive(tmp_path / "a.ome.zarr", blobs((1, 64, 8, 8)) + 1, chunk=8)
    opened = open_archive(path)
    with counting(monkeypatch) as counts:
        opened.read(Selection.whole(opened.shape)[::32])
    assert counts.chunks == 2
