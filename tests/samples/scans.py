"""Small scans: voxels that are all different, and an affine that is no special case."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

AFFINE = np.array([[0, -2, 0.1, 10], [1.5, 0, 0, -20], [0, 0.2, 3, 30], [0, 0, 0, 1]], float)
"""Oblique, sheared, anisotropic, with its first two axes exchanged."""

SHAPE = (2, 5, 6, 7)


def voxels(shape: tuple[int, ...] = SHAPE, dtype: str = "int16") -> NDArray:
    """Voxels (C, W, H, D), every one different."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def write(path: Path, array: NDArray, affine: NDArray = AFFINE, **header: object) -> Path:
    """A NIfTI file of voxels (C, W, H, D), written by nibabel."""
    stored = array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1)
    image = nib.Nifti1Image(stored, affine, dtype=stored.dtype)
    for name, value in header.items():
        image.header[name] = value
    nib.save(image, path)
    return path
