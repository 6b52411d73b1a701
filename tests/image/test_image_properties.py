"""Properties and geometry: exact, of plain Python types, and without reading a voxel."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings

import voxarray as vx
from scans import AFFINE, SHAPE, voxels
from voxarray.testing.counting import count_reads
from voxarray.testing.strategies import affines, shapes

PROPERTIES = [
    "affine",
    "bounds",
    "chunks",
    "direction",
    "dtype",
    "grid",
    "itemsize",
    "memory",
    "num_channels",
    "orientation",
    "orientation_str",
    "origin",
    "path",
    "shape",
    "source",
    "spacing",
    "spatial_shape",
    "type",
]


def test_nothing_reads(save_nifti):
    image = vx.ScalarImage(save_nifti("scan.nii.gz", voxels()))
    with count_reads() as reads:
        for name in PROPERTIES:
            getattr(image, name)
        image.get_bounds(), image.get_center(), image.memory_report(), repr(image), dict(image)
    assert (reads.voxels, reads.decoded) == (0, 0)


def test_values(scan):
    image = vx.ScalarImage(scan)
    header = nib.load(scan).header
    assert image.shape == SHAPE
    assert image.spatial_shape == SHAPE[1:]
    assert image.num_channels == 2
    np.testing.assert_allclose(image.spacing, header.get_zooms()[:3], rtol=1e-6)
    np.testing.assert_allclose(image.origin, AFFINE[:3, 3])
    assert image.orientation == nib.aff2axcodes(AFFINE)
    assert image.orientation_str == "ALS"
    cosines = AFFINE[:3, :3] / np.linalg.norm(AFFINE[:3, :3], axis=0)
    np.testing.assert_allclose(image.direction, cosines.ravel(), atol=1e-6)
    assert image.dtype == np.int16


def test_plain_python_types(scan):
    image = vx.ScalarImage(scan)
    numbers = [*image.shape, image.memory, image.itemsize, image.num_channels]
    assert {type(n) for n in numbers} == {int}
    lengths = [*image.spacing, *image.origin, *image.direction, *image.get_center()]
    lengths += [*itertools.chain(*image.get_bounds())]
    assert {type(n) for n in lengths} == {float}


@given(affines(), shapes())
@settings(max_examples=30, deadline=None)
def test_bounds(affine, shape):
    image = vx.ScalarImage(tensor=np.zeros(shape, "uint8"), affine=affine)
    ends = np.array(shape[1:]) - 1
    np.testing.assert_allclose(image.bounds, [affine[:3, 3], affine[:3, :3] @ ends + affine[:3, 3]])
    corners = [
        affine[:3, :3] @ corner + affine[:3, 3]
        for corner in itertools.product(*[(-0.5, n + 0.5) for n in ends])
    ]
    expected = np.stack([np.min(corners, axis=0), np.max(corners, axis=0)], axis=1)
    np.testing.assert_allclose(image.get_bounds(), expected, atol=1e-9)
    centre = np.mean(corners, axis=0)
    np.testing.assert_allclose(image.get_center(), centre, atol=1e-9)
    np.testing.assert_allclose(image.get_center(lps=True), centre * (-1, -1, 1), atol=1e-9)


def test_two_dimensional():
    image = vx.ScalarImage(tensor=torch.zeros(3, 5, 6, 1))
    assert (image.width, image.height) == (5, 6)
    solid = vx.ScalarImage(tensor=torch.zeros(3, 5, 6, 2))
    for name in ("width", "height"):
        with pytest.raises(RuntimeError, match=re.escape("not 2D. Spatial shape: (5, 6, 2)")):
            getattr(solid, name)
    assert solid[..., 0].width == 5


# What TorchIO 1.2.1 answers for an AIR image.
@pytest.mark.parametrize(
    ("axis", "index"),
    [
        ("Left", -1),
        ("r", -1),
        ("Anterior", -3),
        ("p", -3),
        ("S", -2),
        ("inferior", -2),
        ("Top", -2),
        ("bottom", -2),
    ],
)
def test_axis_name_to_index(axis, index):
    affine = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    image = vx.ScalarImage(tensor=torch.zeros(1, 5, 6, 7), affine=affine)
    assert image.orientation_str == "AIR"
    assert image.axis_name_to_index(axis) == index


@pytest.mark.parametrize("axis", ["x", "", 3, None, "Dorsal"])
def test_unknown_axes(axis):
    image = vx.ScalarImage(tensor=torch.zeros(1, 5, 6, 7))
    with pytest.raises(ValueError, match="Axis not understood"):
        image.axis_name_to_index(axis)


def test_flip_axis():
    pairs = {"Left": "R", "r": "L", "Anterior": "P", "p": "A", "s": "I", "Inferior": "S"}
    pairs |= {"top": "B", "Bottom": "T", "dorsal": "V", "V": "D"}
    assert {axis: vx.Image.flip_axis(axis) for axis in pairs} == pairs
    for wrong in ("x", 3):
        with pytest.raises(ValueError, match="Axis not understood"):
            vx.Image.flip_axis(wrong)


# --- Memory -------------------------------------------------------------------------------------

TYPES = [
    "bool",
    "uint8",
    "int8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("order", "<>")
def test_memory_is_exact_before_loading(dtype, order):
    array = voxels(dtype=dtype).astype(np.dtype(dtype).newbyteorder(order))
    image = vx.ScalarImage(tensor=array)
    itemsize, memory, text = image.itemsize, image.memory, repr(image)
    tensor = image.data
    assert itemsize == tensor.element_size() == image.itemsize
    assert memory == tensor.numel() * tensor.element_size() == image.memory
    assert tensor.type() in text
    assert text == repr(image)
    np.testing.assert_array_equal(tensor, array)


def test_what_no_tensor_holds():
    largest = np.full(SHAPE, 2**63, "uint64")
    with pytest.raises(vx.UnsupportedError, match="9223372036854775808 does not fit") as caught:
        vx.ScalarImage(tensor=largest).load()
    assert caught.value.code == "OUT_OF_INT64"
    assert int(vx.ScalarImage(tensor=largest).compute().array.max()) == 2**63
    wide = vx.ScalarImage(tensor=np.zeros(SHAPE, "longdouble"))
    with pytest.raises(vx.UnsupportedError, match="a tensor cannot hold voxels of type float128"):
        _ = wide.memory


def test_memory_report(save_nifti):
    path = save_nifti("scan.nii", voxels(dtype="uint16"))
    image, size = vx.ScalarImage(path), math.prod(SHAPE)
    report = image.memory_report()
    assert report.on_disk == path.stat().st_size
    assert report.chunk == size * 2
    assert report.resident == 0
    assert report.tensor == size * 4
    assert report.projected_peak >= size * 4
    image.load()
    loaded = image.memory_report()
    assert loaded.resident == loaded.tensor == size * 4
    assert loaded.projected_peak == 0
    assert vx.ScalarImage(tensor=voxels()).memory_report().resident == size * 2


def test_torch_is_not_imported_to_describe(scan):
    code = f"""
import sys, voxarray as vx
image = vx.ScalarImage({str(scan)!r}, affine=__import__("numpy").eye(4))[1:, ::-1]
repr(image), image.memory, image.itemsize, image.memory_report(), image.copy() == image
image.compute().save({str(scan.parent / "copy.nii.gz")!r})
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
