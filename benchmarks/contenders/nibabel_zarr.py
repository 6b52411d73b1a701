"""nibabel and zarr-python as their first pages show them, every setting at its default."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import zarr


def run(source: str, destination: str) -> None:
    voxels = np.asanyarray(nib.load(source).dataobj)
    zarr.create_array(destination, data=voxels)
