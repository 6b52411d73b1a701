"""Weights are summed per chunk while an archive is written, as a pass would sum them."""

from __future__ import annotations

import dask.config
import numpy as np
import pytest
import zarr
from archive_samples import archive

import voxarray as vx
from voxarray.archive.options import Options
from voxarray.archive.projection import projected_peak
from voxarray.archive.source import open_archive
from voxarray.archive.verify import verify
from voxarray.core.errors import UnsupportedError
from voxarray.core.memory import enough_for
from voxarray.source.array import ArraySource
from voxarray.statistics.cell_passes import sum_cells
from voxarray.testing.counting import count_reads

SHAPE = (2, 17, 20, 23)


def weights(dtype="f4"):
    return np.random.default_rng(0).random(SHAPE).astype(dtype)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ozx"])
def test_sums_are_those_of_a_pass(tmp_path, dtype, name):
    source = open_archive(archive(tmp_path / name, weights(dtype), chunk=8))
    for channel in range(2):
        expected = sum_cells(ArraySource(weights(dtype), np.eye(4)), channel, 8)
        found = source.weight_sums(channel)
        assert found.cells == expected.cells
        np.testing.assert_allclose(found.sums, expected.sums, rtol=1e-12)
    assert source.level(1).weight_sums(0) is None
    assert not verify(tmp_path / name)


@pytest.mark.parametrize("bad", [-1e-3, np.nan, np.inf, -np.inf])
def test_numbers_that_weigh_nothing(tmp_path, bad):
    values = weights()
    values[1, 16, 19, 22] = bad
    source = open_archive(archive(tmp_path / "a.ome.zarr", values, chunk=8))
    assert source.weight_sums(0) is None


def test_others_read_them_as_an_array(tmp_path):
    path = archive(tmp_path / "a.ome.zarr", weights(), chunk=8)
    table = zarr.open_array(path / "weight_sums", mode="r")
    np.testing.assert_array_equal(table[1], open_archive(path).weight_sums(1).sums)
    assert table.attrs["cell"] == [8, 8, 8]


def test_integers_and_labels_have_none(tmp_path):
    for name, values, kind in (
        ("integers", weights() > 0.5, "intensity"),
        ("labels", weights() > 0.5, "label"),
    ):
        path = archive(tmp_path / f"{name}.ome.zarr", values.astype("u1"), kind=kind, chunk=8)
        assert open_archive(path).weight_sums(0) is None


def budget(count):
    return dask.config.set({"voxarray.memory-budget": count, "voxarray.threads": 8})


@pytest.mark.parametrize(
    "transform",
    [vx.Pad(4), vx.Compose([vx.Transpose(), vx.Clamp(0.1, 0.9)])],
    ids=["pieces of slabs", "parts of shards"],
)
def test_sums_have_the_same_bits_at_any_budget(tmp_path, transform):
    values = np.random.default_rng(1).random((1, 76, 103, 116))
    image = transform(vx.ScalarImage(tensor=values))
    with budget(1 << 20):
        least = enough_for(lambda: projected_peak(image.source, Options(chunk=32)))
    for count in (1 << 32, least):
        with budget(count):
            image.copy().save(tmp_path / f"{count}.ome.zarr", chunks=32)
    large, small = (open_archive(tmp_path / f"{n}.ome.zarr") for n in (1 << 32, least))
    np.testing.assert_array_equal(small.weight_sums(0).sums, large.weight_sums(0).sums)


def test_a_sampler_reads_no_voxel_before_it_draws(tmp_path):
    path = archive(tmp_path / "a.ome.zarr", weights()[:1], chunk=8)
    subject = vx.Subject(w=vx.ScalarImage(path))
    sampler = vx.WeightedSampler(1, "w")  # every voxel is a centre: no border is counted
    with count_reads() as reads:
        sampler.draw(subject)
    assert reads.calls == 0
    in_memory = vx.Subject(w=vx.ScalarImage(tensor=weights()[:1]))
    assert len(list(sampler(subject, 3))) == len(list(sampler(in_memory, 3))) == 3


def test_what_cannot_be_weighed_is_still_named(tmp_path):
    path = archive(tmp_path / "a.ome.zarr", -weights()[:1], chunk=8)
    with pytest.raises(UnsupportedError, match="Negative values"):
        vx.WeightedSampler(3, "w").draw(vx.Subject(w=vx.ScalarImage(path)))
