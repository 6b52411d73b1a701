"""TorchIO 2: a `ScalarImage`, or a `LabelMap`, of an archive that is named ``.nii.zarr``."""

from __future__ import annotations

import numpy as np
import torchio as tio
from each import each


def main(archive: str, output: str) -> None:
    image = tio.ScalarImage(archive)
    affine = getattr(image.affine, "data", image.affine)
    np.savez(output, voxels=image.data.numpy().transpose(0, 3, 2, 1), affine=np.asarray(affine))


each(main)
