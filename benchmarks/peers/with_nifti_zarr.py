"""nifti-zarr: `zarr2nii` makes a NIfTI file, which nibabel reads."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from each import each
from niizarr import zarr2nii


def main(archive: str, output: str) -> None:
    file = Path(output).with_suffix(".nii")
    zarr2nii(archive, str(file))
    image = nib.load(file)
    voxels = np.asanyarray(image.dataobj)
    zooms = image.header.get_zooms()
    np.savez(
        output,
        voxels=voxels.reshape(*voxels.shape[:3], -1).T,
        affine=image.affine,
        step=zooms[3] if image.header.get_xyzt_units()[1] == "sec" else 0.0,
    )


each(main)
