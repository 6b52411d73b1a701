"""MINC's tables of what stored numbers mean, an entry for each slice."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.io import netcdf_file

from header_samples import everything
from voxarray.core.errors import FormatError
from voxarray.formats.registry import open_source

SAMPLES = Path(nibabel.__file__).parent / "tests" / "data"


def code_of(path):
    with pytest.raises(FormatError) as caught:
        open_source(path)
    return caught.value.code


@pytest.mark.parametrize(
    ("shape", "order"),
    [
        ((17,), b"zspace"),  # found by atheris
        ((), b"zspace"),
        ((1,), b"zspace"),
        ((18,), b"yspace"),
        ((18,), None),
        ((18, 28), b"zspace,yspace"),
    ],
)
@pytest.mark.parametrize("name", ["image-min", "image-max"])
def test_a_table_that_is_unlike_the_other(tmp_path, name, shape, order):
    h5py = pytest.importorskip("h5py")
    path = shutil.copy(SAMPLES / "small.mnc", tmp_path)
    with h5py.File(path, "r+") as file:
        image = file["minc-2.0/image/0"]
        del image[name]
        image[name] = np.ones(shape)
        if order is not None:
            image[name].attrs["dimorder"] = np.bytes_(order)
    assert code_of(path) == "BAD_SCALE"


def minc_1(path, axes):
    """An image of equal sizes, whose tables run over ``axes``."""
    names = ("zspace", "yspace", "xspace")
    with netcdf_file(path, "w") as file:
        for name in names:
            file.createDimension(name, 4)
            axis = file.createVariable(name, "i", ())
            axis.step, axis.start, axis.spacing = 1.0, 0.0, b"regular__"
        image = file.createVariable("image", "b", names)
        image[:] = np.arange(64).reshape(4, 4, 4)
        image.signtype = b"unsigned"
        for name, least in (("image-min", 0.0), ("image-max", 255.0)):
            file.createVariable(name, "d", axes)[:] = least * np.arange(1, 5)
    return path


def test_tables_along_the_slices(tmp_path):
    path = minc_1(tmp_path / "a.mnc", ("zspace",))
    expected = np.arange(64).reshape(4, 4, 4) * np.arange(1, 5)[:, None, None]
    np.testing.assert_allclose(nibabel.load(path).get_fdata(), expected)
    np.testing.assert_allclose(everything(open_source(path))[0], expected)


@pytest.mark.parametrize("axis", ["yspace", "xspace"])
def test_tables_along_another_axis(tmp_path, axis):
    """Of the same size, so that the numbers alone do not tell; nibabel refuses it, too."""
    assert code_of(minc_1(tmp_path / "a.mnc", (axis,))) == "BAD_SCALE"
