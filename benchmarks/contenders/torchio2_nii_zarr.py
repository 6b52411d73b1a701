"""TorchIO 2's `Image.save` to ``.nii.zarr``, which is nifti-zarr with its pyramid."""

from __future__ import annotations

import torchio as tio


def run(source: str, destination: str) -> None:
    tio.ScalarImage(source).save(destination)
