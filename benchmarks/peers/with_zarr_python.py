"""zarr-python: voxels of every level, as the OME-Zarr metadata name them."""

from __future__ import annotations

import numpy as np
import zarr
from each import coarser, each


def main(archive: str, output: str) -> None:
    group = zarr.open_group(archive, mode="r", zarr_format=3)
    (multiscale,) = group.attrs["ome"]["multiscales"]
    levels = [group[level["path"]][...] for level in multiscale["datasets"]]
    np.savez(output, voxels=levels[0], **coarser(levels))


each(main)
