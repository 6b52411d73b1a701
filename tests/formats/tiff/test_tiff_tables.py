"""The tables of strips and tiles: counted before they are read, and refused beyond the budget."""

from __future__ import annotations

import logging
import os
import tracemalloc

import dask.config
import numpy as np
import pytest
import tifffile

import voxarray as vx
from voxarray.formats._voxels.picture_checks import require_whole_tiff


def written(path, array, **options):
    tifffile.imwrite(path, array, photometric="minisblack", metadata=None, **options)
    return path


@pytest.fixture(scope="module")
def tiled(tmp_path_factory):
    """20,164 tiles, nearly empty."""
    tile = np.zeros((16, 16), "i2")
    return written(
        tmp_path_factory.mktemp("tiles") / "a.tif",
        (tile for _ in range(142 * 142)),
        shape=(142 * 16, 142 * 16),
        dtype="i2",
        tile=(16, 16),
        compression="zlib",
    )


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize(
    "options",
    [{"tile": (16, 16), "compression": "zlib"}, {"rowsperstrip": 5}, {"rowsperstrip": 100}],
)
def test_pages_and_segments_are_counted_as_tifffile_does(tmp_path, byteorder, bigtiff, options):
    array = np.zeros((3, 100, 40), "i2")
    path = written(tmp_path / "a.tif", array, byteorder=byteorder, bigtiff=bigtiff, **options)
    with tifffile.TiffFile(path) as file:
        expected = len(file.pages), sum(len(page.dataoffsets) for page in file.pages)
    fd = os.open(path, os.O_RDONLY)
    try:
        assert require_whole_tiff(fd) == expected
    finally:
        os.close(fd)


def test_opening_stays_within_what_is_projected(tiled, caplog):
    _ = vx.ScalarImage(tiled).shape  # imports
    with caplog.at_level(logging.DEBUG, "voxarray.memory"):
        tracemalloc.start()
        _ = vx.ScalarImage(tiled).shape
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    projected = max(record.args[0] for record in caplog.records if record.name == "voxarray.memory")
    assert 64 * 142 * 142 <= projected < 2 * peak
    assert peak <= projected


def test_tables_beyond_the_budget_are_refused_before_they_are_read(tiled):
    with dask.config.set({"voxarray.memory-budget": "1.1 MiB"}):
        tracemalloc.start()
        with pytest.raises(vx.MemoryBudgetError, match="a TIFF of 20,164 strips or tiles") as e:
            _ = vx.ScalarImage(tiled).shape
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert e.value.path == str(tiled)
    assert peak < 256 << 10
    with dask.config.set({"voxarray.memory-budget": "2 MiB"}):
        assert vx.ScalarImage(tiled).shape == (1, 2272, 2272, 1)
