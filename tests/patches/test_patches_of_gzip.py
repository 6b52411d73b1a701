"""Patches of a compressed scan that is too large to be decoded whole take what is promised."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from isal import igzip

from voxarray.testing.peak_memory import can_measure, peak_above_imports

MIB = 1 << 20
SHAPE = (320, 320, 368)  # 72 MiB

SETUP = """
import dask.config, numpy as np, voxarray as vx
dask.config.set({{
    "voxarray.gzip-whole-limit": "8 MiB", "voxarray.block-cache": "16 MiB", "voxarray.threads": 2
}})
vx.ScalarImage({small!r})[:, 2:4, 2:4].numpy()  # loads what reading needs
image = vx.ScalarImage({path!r})
"""
STATEMENT = """
cubes = [slice(start, start + 64) for start in (10, 300, 150)]
result = [int(image[cube, cube, cube].numpy().sum()) for cube in cubes]
"""


def written(path, shape):
    """A scan whose planes are alike, which needs no memory to write."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header["vox_offset"] = 352
    header.set_sform(np.eye(4), 1)
    plane = np.random.default_rng(0).integers(0, 500, shape[:2]).astype("<i2")
    with igzip.open(path, "wb", compresslevel=0) as file:
        file.write(header.binaryblock + bytes(4))
        for _ in range(shape[2]):
            file.write(plane.tobytes("F"))
    return plane


@pytest.mark.skipif(not can_measure(), reason="the peak of a process can be reset on Linux only")
def test_three_patches_do_not_take_the_volume(tmp_path):
    written(tmp_path / "small.nii.gz", (16, 16, 16))
    plane = written(tmp_path / "a.nii.gz", SHAPE)
    setup = SETUP.format(small=str(tmp_path / "small.nii.gz"), path=str(tmp_path / "a.nii.gz"))
    peak = peak_above_imports(setup, STATEMENT)
    sums = [int(plane[n : n + 64, n : n + 64].sum()) * 64 for n in (10, 300, 150)]
    assert peak.result == sums
    assert peak.bytes < (16 + 48) * MIB  # the cache, and pieces on their way
