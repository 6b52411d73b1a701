"""Plain xarray, by its own Zarr engine: voxels of every level, the affine of its coordinates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from each import coarser, each


def main(archive: str, output: str) -> None:
    paths = sorted(Path(archive).glob("scale*"))
    levels = [xr.open_zarr(path, consolidated=False) for path in paths]
    image = levels[0]["image"]
    placed = np.eye(4)
    for axis, name in enumerate("xyz"):
        values = levels[0][name].values
        placed[axis, axis], placed[axis, 3] = values[1] - values[0], values[0]
    world = np.reshape(levels[0]["spatial_ref"].attrs["intrinsic_to_world"], (4, 4))
    np.savez(
        output,
        voxels=image.values,
        affine=world @ placed,
        **coarser([level["image"].values for level in levels]),
    )


each(main)
