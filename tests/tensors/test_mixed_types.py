"""Batches of images, patches and metadata whose types differ."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

import voxarray as vx


def _subject(dtype: str, value: float, **fields) -> vx.Subject:
    voxels = np.full((1, 6, 5, 4), value, dtype)
    return vx.Subject(t1=vx.ScalarImage(tensor=voxels), **fields)


def _batch(subjects, workers: int | None):
    if workers is None:
        return default_collate(subjects)
    patches = vx.PatchDataset(subjects, vx.UniformSampler(4))
    return next(iter(DataLoader(patches, batch_size=len(subjects), num_workers=workers)))


@pytest.fixture(params=[None, 0, 1], ids=["images", "patches", "worker"])
def workers(request):
    return request.param


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("i2", 3001), ("f2", 0.5)),
        (("i4", 2**24 + 1), ("f4", 0.5)),
        (("i8", 2**53 + 1), ("f8", 0.5)),
        (("i4", 70000), ("f2", 0.5)),
    ],
)
def test_voxels_that_the_common_type_rounds(workers, one, other, flipped):
    subjects = [_subject(*one), _subject(*other)]
    with pytest.raises(vx.UnsupportedError, match="does not hold all their values") as error:
        _batch(subjects[::-1] if flipped else subjects, workers)
    assert error.value.code == "UNSUPPORTED_DTYPE"


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        (("i2", 2001), ("f2", 0.5), torch.float16),
        (("i2", 3001), ("f4", 0.5), torch.float32),
        (("u1", 200), ("i1", -3), torch.int16),
        (("f4", 0.1), ("f8", 0.1), torch.float64),
    ],
)
def test_voxels_that_the_common_type_holds(workers, one, other, common, flipped):
    pair = [one, other][:: -1 if flipped else 1]
    data = _batch([_subject(*each) for each in pair], workers)["t1"]["data"]
    assert data.dtype == common
    for voxels, (dtype, value) in zip(data, pair, strict=True):
        assert (voxels.double() == float(np.dtype(dtype).type(value))).all()


@pytest.mark.parametrize("flipped", [False, True])
def test_numbers_of_subjects(workers, flipped):
    numbers = [20261131, 123456789.0, float("nan")]
    given = numbers[:: -1 if flipped else 1]
    made = _batch([_subject("f4", 0, visit=one, n=7) for one in given], workers)
    np.testing.assert_array_equal(made["visit"].numpy(), given)
    assert made["visit"].dtype == torch.float64
    assert made["n"].dtype == torch.int64
