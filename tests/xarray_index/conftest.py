import numpy as np
import pytest

from voxarray.xarray_index.attach import attach

OBLIQUE = np.array(
    [[0.9, 0.3, 0.1, 5], [-0.3, 0.9, 0, -7], [0, 0.2, 2, 3], [0, 0, 0, 1.0]]
)  # rotated, anisotropic and sheared


@pytest.fixture
def affine():
    return OBLIQUE.copy()


@pytest.fixture
def array(affine):
    rng = np.random.default_rng(0)
    return attach(rng.integers(0, 100, (2, 6, 7, 8)), affine, name="image")
