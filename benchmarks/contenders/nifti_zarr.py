"""nifti-zarr's `nii2zarr`, every setting at its default: a pyramid of smoothed levels."""

from __future__ import annotations

import niizarr


def run(source: str, destination: str) -> None:
    niizarr.nii2zarr(source, destination)
