"""Transforms of dask arrays: the same voxels, no nested computing."""

from __future__ import annotations

import dask
import numpy as np
import pytest
from spatial_samples import both, oblique

import voxarray as vx

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
