"""mlarray, nnU-Net's store on blosc2: decoded whole, saved with the layout that it chooses."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from mlarray import MLArray


def run(source: str, destination: str) -> None:
    image = nib.load(source)
    MLArray(np.asanyarray(image.dataobj), affine=image.affine).save(destination)


def read_back(stored: str, path: str) -> None:
    """All voxels as ``.npy``: where the benchmark runs there is no mlarray."""
    np.save(path, np.asarray(MLArray.open(stored)[...]))
