"""Writers on a disk that takes no more: a named error, the process lives, nothing stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of file sizes are Linux's")

VOLUMES = (".nii", ".nii.gz", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgh", ".mgz", ".h5")
VOLUMES += (".mnc", ".tif", ".ome.zarr", ".ozx", ".gif")
UPRIGHT = (".gipl", ".vtk")
PICTURES = (".png", ".jpg", ".bmp")

PROGRAM = """
import json, os, resource, sys
import numpy as np, voxarray as vx
folder, limit = sys.argv[1], int(sys.argv[2])
values = np.random.default_rng(0).integers(0, 255, (1, 96, 96, 96)).astype("u1")
volume = vx.ScalarImage(tensor=values)
upright = vx.ScalarImage(tensor=values, affine=np.diag([-1.0, -1, 1, 1]))
picture = vx.ScalarImage(tensor=values.reshape(1, 1024, 864, 1))
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
outcome = {}
for kind, image in (("volumes", volume), ("upright", upright), ("pictures", picture)):
    for suffix in json.loads(sys.argv[3])[kind]:
        path = os.path.join(folder, "a" + suffix)
        try:
            image.to_gif(0, 1, path) if suffix == ".gif" else image.save(path)
        except vx.VoxarrayError as error:
            outcome[suffix] = error.code
        else:
            outcome[suffix] = "saved"
        outcome[suffix] += " " + " ".join(os.listdir(folder))
print(json.dumps(outcome))
"""


def outcomes(folder, limit=0):
    kinds = json.dumps({"volumes": VOLUMES, "upright": UPRIGHT, "pictures": PICTURES})
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(folder), str(limit), kinds]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_limit_of_file_sizes_is_an_error_of_the_disk(tmp_path):
    found = outcomes(tmp_path, 200 << 10)
    assert {suffix: text.strip() for suffix, text in found.items()} == dict.fromkeys(
        (*VOLUMES, *UPRIGHT, *PICTURES), "IO_ERROR"
    )


def test_full_disk_is_an_error_that_says_so(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(tmp_path)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("this user may not mount a small disk")
    try:
        found = outcomes(tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert {suffix: text.strip() for suffix, text in found.items()} == dict.fromkeys(
        (*VOLUMES, *UPRIGHT, *PICTURES), "NO_SPACE"
    )


def test_what_a_child_writes_is_what_was_given(tmp_path):
    """The writers that may end their process get all voxels, and are read again."""
    import nibabel as nib
    import numpy as np
    import SimpleITK

    import voxarray as vx

    voxels = np.random.default_rng(1).integers(-9, 9, (1, 7, 6, 5)).astype("i2")
    image = vx.ScalarImage(tensor=voxels, affine=np.diag([2.0, 3, 4, 1]))
    image.save(tmp_path / "a.h5")
    read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "a.h5")))
    assert np.array_equal(read.T, voxels[0])
    image.save(tmp_path / "a.mnc")
    assert np.array_equal(nib.load(tmp_path / "a.mnc").get_fdata(), voxels[0])
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
