"""ngff-zarr's Python functions, base level alone, every setting at its default."""

from __future__ import annotations

import nibabel as nib
from ngff_zarr import nibabel_image_to_ngff_image, to_multiscales, to_ngff_zarr


def run(source: str, destination: str) -> None:
    image = nibabel_image_to_ngff_image(nib.load(source))
    to_ngff_zarr(destination, to_multiscales(image, scale_factors=[]), version="0.5")
