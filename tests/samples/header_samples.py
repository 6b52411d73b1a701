"""Files of several formats with given headers, and how SimpleITK reads them."""

from __future__ import annotations

import warnings

import numpy as np
import SimpleITK as sitk

from voxarray.core.errors import VoxarrayWarning
from voxarray.formats.registry import open_source
from voxarray.geometry.lps import ras_from_itk
from voxarray.geometry.selection import Selection


def numbers(shape, dtype="i2", seed=0):
    """Random numbers of a type, in native byte order."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype.newbyteorder("="), endpoint=True)
    values = rng.normal(0, 100, shape)
    return (values + 1j * values[::-1] if dtype.kind == "c" else values).astype(dtype)


def opened(path):
    """A source, and its warnings' first words."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", VoxarrayWarning)
        source = open_source(path)
    return source, [str(w.message).split(":")[0] for w in caught]


def everything(source):
    return source.read(Selection.whole(source.shape))


def by_itk(path, reader):
    """Voxels (C, W, H, D) and affine as SimpleITK reads them."""
    image = sitk.ReadImage(str(path), imageIO=reader)
    array = sitk.GetArrayFromImage(image).T
    if image.GetNumberOfComponentsPerPixel() == 1:
        array = np.moveaxis(array, -1, 0) if image.GetDimension() == 4 else array[None]
    array = array[..., None] if array.ndim == 3 else array
    return array, ras_from_itk(image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def assert_as_itk(path, reader):
    """Voxels, types and affine of a file are SimpleITK's."""
    theirs, affine = by_itk(path, reader)
    source, _ = opened(path)
    ours = everything(source)
    assert ours.dtype == theirs.dtype
    assert np.array_equal(ours, theirs)
    np.testing.assert_allclose(source.affine, affine, rtol=0, atol=1e-6)
