"""Transforms of dask arrays: the same voxels, no nested computing."""

from __future__ import annotations

import pickle

import dask
import dask.array as da
import numpy as np
import pytest
from spatial_samples import both, oblique

import voxarray as vx
from voxarray.testing.counting import count_reads
from voxarray.xarray_index import lazy

PIPELINE = vx.Compose(
    [
        vx.ToCanonical(),
        vx.Resample(1.1),
        vx.CropOrPad((40, 50, 60)),
        vx.Resample(((30, 31, 32), np.diag([2, 2, 2, 1.0]))),
        vx.Flip(0),
    ]
)


@pytest.fixture
def voxels():
    return np.random.default_rng(0).normal(0, 100, (2, 40, 45, 50)).astype("float32")


@pytest.mark.parametrize("chunks", [(1, 20, 30, 25), (2, 40, 45, 50), (1, 7, 45, 11)])
def test_a_dataarray_stays_a_graph(voxels, chunks):
    expected = PIPELINE(vx.ScalarImage(tensor=voxels, affine=oblique(0)))
    array = vx.ScalarImage(tensor=voxels, affine=oblique(0)).array
    array = array.chunk(dict(zip("cxyz", chunks, strict=True))) * 1
    computed = []
    with dask.config.set(scheduler=lambda *_, **__: computed.append(1)):
        result = PIPELINE(array)
    assert not computed
    assert np.allclose(result.vox.affine, expected.affine)

    inside = []

    def refuse(*args, **kwargs):
        inside.append(1)
        raise AssertionError("a task computes another graph")

    graph = result.data
    tasks = dask.optimize(graph)[0].__dask_graph__()
    with dask.config.set(scheduler=refuse):  # what a task would compute with
        found = dask.threaded.get(dict(tasks), graph.__dask_keys__(), num_workers=2)
    assert not inside
    assert np.array_equal(np.block(_arrays(found)), expected.numpy())


def _arrays(nested):
    return [_arrays(one) for one in nested] if isinstance(nested, list | tuple) else nested


def test_images_of_graphs(voxels):
    image = vx.ScalarImage(tensor=voxels, affine=oblique(0))
    lazy = image.rechunk((1, 20, 20, 20))
    result, expected = PIPELINE(lazy), PIPELINE(image)
    assert np.array_equal(result.numpy(), expected.numpy())
    assert np.array_equal(PIPELINE(lazy).dask.compute(), expected.numpy())
    assert PIPELINE(lazy).dask.name == PIPELINE(lazy).dask.name


def test_tokens_are_those_of_other_processes(tmp_path):
    import pickle
    import subprocess
    import sys

    path = tmp_path / "a.nii"
    both(0)[1]["t1"].save(path)
    image = PIPELINE(vx.ScalarImage(path))
    code = (
        "import pickle, sys; image = pickle.load(open(sys.argv[1], 'rb'));"
        "print(image.source.token(), image.dask.name)"
    )
    (tmp_path / "image").write_bytes(pickle.dumps(image))
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "image"], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == [image.source.token(), image.dask.name]


FUNCTIONS = {
    "elementwise": (lambda x: -x, 0),
    "mean": (lambda x: x > x.mean(), 1),
    "deviations": (lambda x: (x - x.mean()) / x.std(), 1),
    "two extremes": (lambda x: (x - x.min()) / (x.max() - x.min()), 1),
    "neighbours": (lambda x: x.map_overlap(np.negative, depth=1, boundary="nearest"), 0),
    "sums along an axis": (lambda x: x.cumsum(3), 0),
    "means of planes": (lambda x: x - x.mean(axis=(1, 2), keepdims=True), 0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_reduction_over_all_blocks_is_computed_once(tmp_path, name, monkeypatch):
    """Not once per part: the mean in ``x > x.mean()`` is of the whole volume."""
    function, passes = FUNCTIONS[name]
    voxels = np.random.default_rng(0).normal(0, 100, (1, 20, 21, 64)).astype("float32")
    vx.ScalarImage(tensor=voxels).save(tmp_path / "a.nii")
    plane = 20 * 21
    monkeypatch.setattr(lazy, "_BLOCK_BYTES", 8 * plane * 4)
    result = vx.Lambda(function)(vx.ScalarImage(tmp_path / "a.nii"))
    expected = function(da.from_array(voxels, chunks=(1, 20, 21, 8))).compute()
    whole = np.asarray(result.array)
    np.testing.assert_allclose(whole, expected, rtol=1e-5, atol=1e-4)
    around = 24 if name == "neighbours" else 64 if name == "sums along an axis" else 8
    for start, found in ((16, passes * voxels.size), (32, 0)):
        with count_reads() as reads:
            part = result[..., start : start + 8].numpy()
        assert np.array_equal(part, whole[..., start : start + 8])
        assert reads.voxels <= found + around * plane + part.size  # what is given counts, too
    again = pickle.loads(pickle.dumps(result))
    assert np.array_equal(again[..., 20:30].numpy(), whole[..., 20:30])


@pytest.mark.parametrize("suffix", [".nii", ".ome.zarr"])
def test_blocks_of_functions_are_computed_once(tmp_path, suffix, monkeypatch):
    """Slabs of the archive are made of whole blocks, whatever the file is cut into."""
    monkeypatch.setattr(lazy, "_BLOCK_BYTES", 1 << 18)
    voxels = np.random.default_rng(0).integers(0, 99, (1, 60, 70, 150)).astype("int16")
    vx.ScalarImage(tensor=voxels).save(tmp_path / f"a{suffix}")
    computed = []

    def negative(block):
        computed.append(block.size)
        return -block

    result = vx.Lambda(lambda x: x.map_blocks(negative, dtype="int16", meta=x._meta))(
        vx.ScalarImage(tmp_path / f"a{suffix}")
    )
    result.save(tmp_path / "result.ome.zarr")
    assert sum(computed) == voxels.size
    assert len(computed) > 3
    assert np.array_equal(vx.ScalarImage(tmp_path / "result.ome.zarr").numpy(), -voxels)
