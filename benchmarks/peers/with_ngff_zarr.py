"""ngff-zarr: voxels and, of every level, spacing and translation."""

from __future__ import annotations

import ngff_zarr
import numpy as np
from each import coarser, each


def main(archive: str, output: str) -> None:
    multiscales = ngff_zarr.from_ngff_zarr(archive)
    first = multiscales.images[0]
    np.savez(
        output,
        voxels=np.asarray(first.data),
        spacing=[[image.scale[axis] for axis in "xyz"] for image in multiscales.images],
        translation=[[image.translation[axis] for axis in "xyz"] for image in multiscales.images],
        **coarser([image.data for image in multiscales.images]),
        step=first.scale.get("t", 0.0),
    )


each(main)
