"""TorchIO 2's `Image.save` to ``.nii.zarr`` over a folder of scans."""

from __future__ import annotations

from pathlib import Path

import torchio as tio


def run(source: str, destination: str) -> None:
    Path(destination).mkdir(parents=True, exist_ok=True)
    for scan in sorted(Path(source).glob("*.nii.gz")):
        store = f"{destination}/{scan.name.removesuffix('.nii.gz')}.nii.zarr"
        tio.ScalarImage(scan).save(store)
