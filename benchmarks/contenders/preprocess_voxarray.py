"""Preprocessing with voxarray: read in parts, computed in parts, written as an archive."""

from __future__ import annotations

import voxarray as vx


def run(source: str, destination: str) -> None:
    preprocess = vx.Compose(
        [
            vx.ToCanonical(),
            vx.Resample(1),
            vx.CropOrPad((256, 256, 256)),
            vx.RescaleIntensity(percentiles=(0.5, 99.5)),
            vx.ZNormalization(),
        ]
    )
    preprocess(vx.ScalarImage(source)).save(destination, overwrite=True)
