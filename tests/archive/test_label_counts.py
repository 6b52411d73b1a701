"""Labels are counted per chunk while an archive is written, as a pass would count them."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from archive_samples import archive, voxels

from voxarray.archive.source import open_archive
from voxarray.archive.verify import verify
from voxarray.source.array import ArraySource
from voxarray.statistics.cell_passes import count_cells, sum_cells

SHAPE = (2, 17, 20, 23)


def labels(dtype):
    return np.random.default_rng(0).integers(0, 5, SHAPE).astype(dtype)


@pytest.mark.parametrize("dtype", ["u1", "i2", "i8", "f4"])
@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ozx"])
def test_counts_are_those_of_a_pass(tmp_path, dtype, name):
    path = archive(tmp_path / name, labels(dtype), kind="label", chunk=8)
    counts = open_archive(path).label_counts
    expected = count_cells(ArraySource(labels(dtype), np.eye(4)), 8)
    assert counts.cells == expected.cells
    np.testing.assert_array_equal(counts.table, expected.table)
    np.testing.assert_array_equal(
        counts.sums(1), sum_cells(ArraySource(labels(dtype), np.eye(4)), 1, 8).sums
    )
    assert not verify(path)


def test_negative_labels_and_their_layers(tmp_path):
    values = labels("i2") - 2
    path = archive(tmp_path / "a.ome.zarr", labels("i2"), labels={"seg": values}, chunk=8)
    assert open_archive(path).label_counts is None
    counts = open_archive(path / "labels/seg").label_counts
    cells, found = counts.of(0, -2)
    assert found.sum() == (values[0] == -2).sum()
    for cell, count in zip(cells, found, strict=True):
        x, y, z = counts.cells.box(cell)
        assert count == (values[0][np.ix_(x, y, z)] == -2).sum()


@pytest.mark.filterwarnings("error")
def test_labels_of_two_bytes_of_floats_are_counted_without_a_word(tmp_path):
    values = labels("f2")
    path = archive(tmp_path / "a.ome.zarr", values, kind="label", chunk=8)
    assert open_archive(path).label_counts.of(0, 3)[1].sum() == (values[0] == 3).sum()


def test_others_read_them_as_an_array(tmp_path):
    path = archive(tmp_path / "a.ome.zarr", labels("u1"), kind="label", chunk=8)
    table = zarr.open_array(path / "label_counts", mode="r")
    np.testing.assert_array_equal(table[...], open_archive(path).label_counts.table)
    assert table.attrs["columns"] == ["channel", "cell", "value", "count"]
    assert table.attrs["cell"] == [8, 8, 8]


def test_measurements_are_not_counted(tmp_path):
    path = archive(tmp_path / "a.ome.zarr", voxels((1, 9, 9, 9), "f4"), kind="label", chunk=8)
    assert open_archive(path).label_counts is None
    assert not verify(path)
