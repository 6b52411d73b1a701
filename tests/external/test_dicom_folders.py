"""Every series below ``VOXARRAY_DICOM`` against dcm2niix: the same voxels at the same places.

A refusal by name is counted and passes; another voxel, another place or another exception fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from foreign import VERDICTS, parameters, roots

import voxarray as vx
from voxarray.formats.dicom.detect import is_dicom

DCM2NIIX = Path(sys.executable).parent / "dcm2niix"
VARIABLE = "VOXARRAY_DICOM"


def folders():
    found = []
    for root in roots(VARIABLE):
        for folder, _, names in os.walk(root):
            paths = [os.path.join(folder, name) for name in sorted(names)]
            if any(is_dicom(path) for path in paths):
                found.append(Path(folder))
    return found


@dataclass
class Converted:
    """A file of dcm2niix, its voxels read once."""

    path: Path

    def __post_init__(self):
        image = nib.load(self.path)
        self.affine = image.affine
        voxels = np.asanyarray(image.dataobj)
        if voxels.dtype.fields:  # colours, as a record of three bytes
            voxels = np.stack([voxels[name] for name in voxels.dtype.names], -1)
        self.voxels = voxels.reshape(*voxels.shape[:3], -1)

    def on(self, image):
        """Its voxels (C, W, H, D) along the axes of an image; None if they are elsewhere."""
        relative = np.linalg.inv(self.affine) @ image.affine
        axes = np.abs(relative[:3, :3]).argmax(0)
        signs = np.sign(relative[axes, range(3)])
        if sorted(axes) != [0, 1, 2]:
            return None
        voxels = self.voxels.transpose(*axes, 3)
        if voxels.shape[:3] != image.spatial_shape:
            return None
        corners = np.stack(np.meshgrid(*[[0, n - 1] for n in image.spatial_shape]), -1)
        there = corners.reshape(-1, 3) @ relative[:3, :3].T + relative[:3, 3]
        expected = np.empty_like(there)
        for axis, other in enumerate(axes):
            along = corners.reshape(-1, 3)[:, axis]
            size = image.spatial_shape[axis]
            expected[:, other] = along if signs[axis] > 0 else size - 1 - along
        if np.abs(there - expected).max() > 0.02:  # voxels; it rounds to float32
            return None
        flips = tuple(slice(None, None, 1 if sign > 0 else -1) for sign in signs)
        return voxels[flips].transpose(3, 0, 1, 2)


def same(ours, theirs):
    scale = max(1.0, float(np.abs(theirs.astype(float)).max()))
    return np.allclose(ours, theirs, rtol=1e-4, atol=1e-4 * scale)


def verdict(image, converted):
    """Whether each volume of an image is one of dcm2niix's."""
    placed = [found for one in converted if (found := one.on(image)) is not None]
    alike = [one for one in converted if sorted(one.voxels.shape[:3]) == sorted(image.shape[1:])]
    if not alike:
        return "opens, dcm2niix has no image of that size"
    if not placed:
        return "DIFFERS: another place"
    voxels = image.numpy()
    for volume in voxels:
        if not any(same(volume, other) for found in placed for other in found):
            return "DIFFERS: other voxels"
    whole = any(len(found) == len(voxels) and same(voxels, found) for found in placed)
    return "the same" if whole else "the same volumes, in another order or in several files"


@pytest.mark.skipif(not DCM2NIIX.exists(), reason="dcm2niix is not installed")
@pytest.mark.parametrize("folder", parameters(VARIABLE, folders()))
def test_series_are_dcm2niixs(folder, tmp_path):
    command = [DCM2NIIX, "-b", "n", "-p", "n", "-d", "0", "-f", "%s_%r", "-o", tmp_path, folder]
    subprocess.run(command, capture_output=True, timeout=600)
    converted = [Converted(path) for path in sorted(tmp_path.glob("*.nii"))]
    try:
        listed = [series for series in vx.DicomReader().list_series(folder) if series.images]
    except vx.VoxarrayError as error:
        VERDICTS[f"folder refused: {error.code}"] += 1
        return
    wrong = []
    for series in listed:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", vx.VoxarrayWarning)
            try:
                image = vx.ScalarImage(folder, reader=vx.DicomReader(series=series.uid))
                found = verdict(image, converted)
            except vx.VoxarrayError as error:
                found = f"refused: {error.code}"
        VERDICTS[found] += 1
        if found.startswith("DIFFERS"):
            wrong.append(f"{series}: {found}; {image}, dcm2niix {[c.path.name for c in converted]}")
    assert not wrong, "\n".join(wrong)
