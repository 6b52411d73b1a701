"""tensorstore: voxels of every level, as the OME-Zarr metadata name them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tensorstore as ts
from each import coarser, each


def main(archive: str, output: str) -> None:
    attributes = json.loads((Path(archive) / "zarr.json").read_bytes())["attributes"]
    (multiscale,) = attributes["ome"]["multiscales"]
    levels = []
    for level in multiscale["datasets"]:
        spec = {"driver": "zarr3", "kvstore": f"file://{archive}/{level['path']}/"}
        levels.append(ts.open(spec, open=True).result().read().result())
    np.savez(output, voxels=levels[0], **coarser(levels))


each(main)
