"""Subjects on random oblique grids, in TorchIO and here, and how their transforms compare."""

from __future__ import annotations

import warnings

import numpy as np
import torch
import torchio as tio
from scipy.spatial.transform import Rotation

import voxarray as vx


def oblique(seed: int) -> np.ndarray:
    """A rotated, anisotropic affine without shear, its axes in any order and direction."""
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", rng.uniform(-60, 60, 3), degrees=True).as_matrix()
    affine[:3, :3] *= rng.uniform(0.6, 2.5, 3)
    affine[:3, :3] = affine[:3, rng.permutation(3)] * rng.choice([-1, 1], 3)
    affine[:3, 3] = rng.uniform(-50, 50, 3)
    return affine


def arrays(seed: int, dtype: str = "int16") -> dict[str, np.ndarray]:
    """Noise of two channels, and labels whose first planes are empty."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(5, 20, 3))
    noise = rng.normal(0, 100, (2, *shape))
    labels = rng.integers(0, 3, (1, *shape)).astype("uint8")
    labels[:, :2] = labels[..., -1:] = 0
    return {"t1": (abs(noise) if dtype == "uint8" else noise).astype(dtype), "seg": labels}


def both(seed: int, dtype: str = "int16") -> tuple[tio.Subject, vx.Subject]:
    """The same subject for TorchIO and for us."""
    affine, voxels = oblique(seed), arrays(seed, dtype)
    return tuple(  # type: ignore[return-value]
        one.Subject(
            t1=one.ScalarImage(tensor=torch.from_numpy(voxels["t1"].copy()), affine=affine),
            seg=one.LabelMap(tensor=torch.from_numpy(voxels["seg"].copy()), affine=affine),
        )
        for one in (tio, vx)
    )


def transformed(name: str, theirs, ours, *args, **kwargs):
    """Both subjects, or images, after the transform of that name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(tio, name)(*args, **kwargs)(theirs), getattr(vx, name)(*args, **kwargs)(ours)


def assert_same_place(theirs, ours) -> None:
    assert ours.shape == theirs.shape
    assert np.allclose(ours.affine, theirs.affine, rtol=0, atol=1e-6)
    assert ours.data.dtype == theirs.data.dtype


def assert_same(theirs, ours) -> None:
    """Equal in every voxel."""
    assert_same_place(theirs, ours)
    assert torch.equal(theirs.data, ours.data)


def assert_close(theirs, ours, tolerance: float = 1e-5, noisy: float = 0.05) -> None:
    """Equal to ``tolerance`` of the range; integers but for the ``noisy`` share."""
    assert_same_place(theirs, ours)
    one, other = theirs.data.numpy(), ours.data.numpy()
    difference = np.abs(one.astype(float) - other)
    if one.dtype.kind in "iu":
        # A whole number is cut off to the one below where ITK's rounding noise makes it smaller.
        assert difference.max() <= 1
        assert (difference > 0).mean() <= noisy
    else:
        assert difference.max() <= tolerance * np.abs(one).max()
