"""Figures that no window shows, and phantoms whose corners are known."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt

AFFINES = {
    "RAS": np.diag([1, 2, 3, 1.0]),
    "LPI": np.diag([-1, -2, -3, 1.0]),
    "PIR": np.array([[0, 0, 1.5, 9], [-1, 0, 0, 8], [0, -2, 0, 7], [0, 0, 0, 1]], float),
    "oblique": np.array([[0.9, 0.2, 0, 0], [-0.2, 1.8, 0.1, 5], [0, 0.1, 2.5, 0], [0, 0, 0, 1]]),
}


@pytest.fixture(autouse=True, scope="session")
def _no_windows():
    mpl.use("Agg")


@pytest.fixture(autouse=True)
def _close_figures():
    plt.close("all")  # of other tests too
    yield
    plt.close("all")


def pixels(figure) -> list:
    """What each picture of a figure shows, from top left."""
    return [np.asarray(axis.images[0].get_array()) for axis in figure.axes]


def canonical(voxels, affine):
    """Voxels (W, H, D) with axes towards R, A, S, by nibabel."""
    import nibabel as nib

    return np.asarray(nib.as_closest_canonical(nib.Nifti1Image(voxels, affine)).dataobj)
