"""ngff-zarr's Python functions over a folder of scans, with a pyramid of three levels."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
from ngff_zarr import nibabel_image_to_ngff_image, to_multiscales, to_ngff_zarr


def run(source: str, destination: str) -> None:
    for scan in sorted(Path(source).glob("*.nii.gz")):
        image = nibabel_image_to_ngff_image(nib.load(scan))
        store = f"{destination}/{scan.name.removesuffix('.nii.gz')}.ome.zarr"
        to_ngff_zarr(store, to_multiscales(image, scale_factors=[2, 4]), version="0.5")
