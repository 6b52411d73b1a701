"""Makes the README's pictures anew: ``python notebooks/remake_pictures.py head.nii.gz``.

The head in them is ``chris_t1.nii.gz`` of the images that come with NiiVue.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage

import voxarray as vx

PICTURES = Path(__file__).parent / "pictures"


def main(path: str) -> None:
    """Make all of them of one T1-weighted scan of a head."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, Path(path).name.split(".")[0] + ".ome.zarr")
        scan = vx.ScalarImage(path)
        vx.convert(scan, archive, labels={"tissue": _tissue(scan)}, progress=False)
        image = vx.ScalarImage(archive)
        tissue = vx.Archive(archive).labels["tissue"]
        _picture(
            "preview", image, labels=tissue, opacity=0.5, figsize=(12, 4.4), percentiles=(0, 99.5)
        )
        _picture("plot", image, figsize=(8, 3.3), percentiles=(0, 99.5))
        subject = vx.Subject(t1=image, tissue=tissue)
        subject.plot(overlay=True, show=False, output_path=PICTURES / "labels.png")
        plt.figure(figsize=(8, 3.3), layout="tight")
        image.hist(show=False, log=True)
        plt.savefig(PICTURES / "hist.png", dpi=100)


def _picture(name: str, image: vx.ScalarImage, **options: Any) -> None:
    image.plot(show=False, output_path=PICTURES / f"{name}.png", **options)


def _tissue(scan: vx.ScalarImage) -> vx.LabelMap:
    """White matter, roughly: the largest bright part, enough to see a label map by."""
    voxels = ndimage.gaussian_filter(scan.numpy()[0].astype("f4"), 0.7)
    bright = ndimage.binary_erosion(voxels > np.percentile(voxels, 88), iterations=2)
    parts, _ = ndimage.label(bright)
    white = parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1
    white = ndimage.binary_dilation(white, iterations=2)
    return vx.LabelMap(tensor=white[None].astype("u1"), affine=scan.affine)


if __name__ == "__main__":
    main(sys.argv[1])
