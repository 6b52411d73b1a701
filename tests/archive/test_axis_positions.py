"""Chunks of positions along an axis: with numbers beyond the axis, and without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import xarray as xr
import zarr
from archive_samples import archive, blobs, reseal

from voxarray.archive.codecs import Codec
from voxarray.archive.verify import verify


def document(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes())


@pytest.mark.parametrize("size", [297, 300, 303, 304])
def test_a_chunk_of_positions_may_be_longer_than_the_axis(tmp_path, size):
    """What lies beyond the axis is seen by no reader."""
    affine = np.diag([0.75, 1, 1, 1])
    affine[0, 3] = -71.25
    path = archive(tmp_path / "a.ome.zarr", blobs((1, size, 4, 4)), affine, levels=1)
    (chunk,) = document(path / "scale0/x/zarr.json")["chunk_grid"]["configuration"]["chunk_shape"]
    assert chunk == 304
    assert (path / "scale0/x/c.0").stat().st_size < 300
    expected = -71.25 + 0.75 * np.arange(size)
    array = zarr.open_array(path / "scale0/x", mode="r")
    assert array.shape == (size,)
    np.testing.assert_array_equal(array[:], expected)
    store = {"driver": "file", "path": str(path / "scale0/x")}
    opened = tensorstore.open({"driver": "zarr3", "kvstore": store}).result()
    np.testing.assert_array_equal(opened.read().result(), expected)
    with xr.open_dataset(path / "scale0", engine="zarr", consolidated=False) as dataset:
        np.testing.assert_array_equal(dataset["x"], expected)
        dataset.to_zarr(tmp_path / "copy.zarr")
    with xr.open_dataset(tmp_path / "copy.zarr", engine="zarr") as copy:
        np.testing.assert_array_equal(copy["x"], expected)
    assert verify(path) == []


def test_positions_in_a_chunk_of_exactly_the_axis_are_verified_too(tmp_path):
    """As in archives of earlier versions."""
    path = archive(tmp_path / "a.ome.zarr", blobs((1, 300, 4, 4)), levels=1)
    positions = zarr.open_array(path / "scale0/x", mode="r")[:]
    codec = Codec("zstd", 5, "shuffle")
    (path / "scale0/x/c.0").write_bytes(b"".join(codec.encode(positions)))
    content = document(path / "scale0/x/zarr.json")
    content["chunk_grid"]["configuration"]["chunk_shape"] = [300]
    content["codecs"] = codec.to_json(positions.dtype)
    (path / "scale0/x/zarr.json").write_text(json.dumps(content))
    reseal(path)
    assert verify(path) == []
    content["chunk_grid"]["configuration"]["chunk_shape"] = [304]
    (path / "scale0/x/zarr.json").write_text(json.dumps(content))
    reseal(path)
    assert [problem.code for problem in verify(path)] == ["CONTRADICTION"]
