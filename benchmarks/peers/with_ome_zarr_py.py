"""ome-zarr-py: voxels and, of every level, spacing and translation."""

from __future__ import annotations

import numpy as np
from each import coarser, each
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader


def main(archive: str, output: str) -> None:
    location = parse_url(archive)
    # Of a label map, the reader hands out the image that it belongs to as well.
    node = next(node for node in Reader(location)() if node.zarr.basename() == location.basename())
    levels = node.metadata["coordinateTransformations"]
    scales = [level[0]["scale"] for level in levels]
    np.savez(
        output,
        voxels=np.asarray(node.data[0]),
        spacing=[scale[:0:-1] for scale in scales],
        translation=[level[1]["translation"][:0:-1] for level in levels],
        **coarser(node.data),
        step=scales[0][0] if node.metadata["axes"][0]["name"] == "t" else 0.0,
    )


each(main)
