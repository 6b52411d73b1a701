"""SimpleITK images in both directions: voxels, types, and millimetres as ITK counts them."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings

import voxarray as vx
from voxarray.testing.counting import count_reads
from voxarray.testing.strategies import affines, shapes

SCALARS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float32", "float64"]


def arange(shape, dtype="int16"):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def test_the_examples_of_the_page():
    volume = vx.LabelMap.from_sitk(sitk.Image(20, 30, 40, sitk.sitkUInt16))
    assert repr(volume) == (
        "LabelMap(shape: (1, 20, 30, 40); spacing: (1.00, 1.00, 1.00); orientation: LPS+; "
        "memory: 93.8 KiB; dtype: torch.IntTensor)"
    )
    vectors = vx.ScalarImage.from_sitk(sitk.Image((224, 224), sitk.sitkVectorFloat32, 3))
    assert repr(vectors) == (
        "ScalarImage(shape: (3, 224, 224, 1); spacing: (1.00, 1.00, 1.00); orientation: LPS+; "
        "memory: 588.0 KiB; dtype: torch.FloatTensor)"
    )


@given(affines(), shapes(min_size=2))
@settings(max_examples=40, deadline=None)
def test_every_voxel_stays_where_it_is(affine, shape):
    image = vx.ScalarImage(tensor=arange(shape), affine=affine)
    itk = image.as_sitk()
    index = [n - 1 for n in shape[1:]]
    left, posterior, superior = itk.TransformIndexToPhysicalPoint(index)
    world = image.grid.to_world(index)
    np.testing.assert_allclose((-left, -posterior, superior), world, atol=1e-9)
    value = itk[index]
    assert list(value if shape[0] > 1 else [value]) == list(arange(shape)[:, -1, -1, -1])
    back = vx.ScalarImage.from_sitk(itk)
    np.testing.assert_array_equal(back.numpy(), arange(shape))
    np.testing.assert_allclose(back.affine, affine, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("dtype", SCALARS)
@pytest.mark.parametrize("channels", [1, 3])
def test_types(dtype, channels):
    image = vx.ScalarImage(tensor=arange((channels, 2, 3, 4), dtype))
    itk = image.as_sitk()
    promoted = {"uint16": "int32", "uint32": "int64"}.get(dtype, dtype)
    assert sitk.GetArrayViewFromImage(itk).dtype == promoted
    back = vx.ScalarImage.from_sitk(itk)
    assert back.dtype == promoted
    np.testing.assert_array_equal(back.numpy(), image.numpy())


@pytest.mark.parametrize("pixel", [sitk.sitkUInt16, sitk.sitkUInt32, sitk.sitkComplexFloat32])
def test_types_of_itk(pixel):
    itk = sitk.Image(3, 4, 5, pixel)
    image = vx.ScalarImage.from_sitk(itk)
    assert image.dtype == sitk.GetArrayViewFromImage(itk).dtype
    assert image.data.dtype is not None  # by the promotion table


def test_what_itk_cannot_hold():
    half = vx.ScalarImage(tensor=np.zeros((1, 2, 2, 2), "float16"))
    with pytest.raises(vx.UnsupportedError, match="float16"):
        half.as_sitk()
    complex_vectors = vx.ScalarImage(tensor=np.zeros((2, 2, 2, 2), "complex64"))
    with pytest.raises(vx.UnsupportedError, match="vectors of type complex64"):
        complex_vectors.as_sitk()
    assert complex_vectors[:1, :, :, :].as_sitk().GetPixelID() == sitk.sitkComplexFloat32


def test_what_an_image_cannot_be_made_of():
    runs = sitk.LabelImageToLabelMap(sitk.Image(3, 3, 3, sitk.sitkUInt8))
    with pytest.raises(vx.UnsupportedError, match="LabelMapToLabel"):
        vx.LabelMap.from_sitk(runs)
    with pytest.raises(vx.UnsupportedError, match="five axes"):
        vx.ScalarImage.from_sitk(sitk.Image([2, 2, 2, 2], sitk.sitkVectorUInt8, 2))
    with pytest.raises(TypeError, match="not ndarray"):
        vx.ScalarImage.from_sitk(np.zeros((2, 2)))


def test_four_dimensions():
    image = vx.ScalarImage(tensor=arange((5, 2, 3, 4)), affine=np.diag([1, 2, 3, 1.0]))
    series = image.as_sitk(force_4d=True)
    assert series.GetSize() == (2, 3, 4, 5)
    assert series.GetSpacing()[:3] == (1, 2, 3)
    assert series[1, 2, 3, 4] == image.numpy()[4, 1, 2, 3]
    back = vx.ScalarImage.from_sitk(series)
    np.testing.assert_array_equal(back.numpy(), image.numpy())
    np.testing.assert_array_equal(back.affine, image.affine)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("signs", [(1, 1), (-1, -1), (1, -1)])
def test_planes(channels, signs):
    affine = np.diag([0.5 * signs[0], 0.25 * signs[1], 1, 1])
    affine[:2, 3] = 7, 8
    image = vx.ScalarImage(tensor=arange((channels, 4, 5, 1)), affine=affine)
    plane = image.as_sitk()
    assert plane.GetSize() == (4, 5)
    back = vx.ScalarImage.from_sitk(plane)
    np.testing.assert_array_equal(back.numpy(), image.numpy())
    np.testing.assert_array_equal(back.affine, affine)


@pytest.mark.parametrize("key", [(..., 1), (slice(None), 1), 1])
def test_a_slice_that_loses_its_place_says_so(key):
    volume = vx.ScalarImage(tensor=arange((1, 4, 5, 6)), affine=np.diag([1, 2, 3, 1.0]))
    part = volume[key]
    kept = part.as_sitk(force_3d=True)
    np.testing.assert_array_equal(vx.ScalarImage.from_sitk(kept).affine, part.affine)
    if part.spatial_shape[2] == 1:
        with pytest.warns(vx.VoxarrayWarning, match="force_3d=True"):
            assert part.as_sitk().GetDimension() == 2


def test_an_oblique_slice_lies_flat_as_in_torchio():
    turned = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    image = vx.ScalarImage(tensor=arange((1, 4, 5, 1)), affine=turned)
    with pytest.warns(vx.VoxarrayWarning, match="loses its place"):
        assert image.as_sitk().GetDirection() == (-1, 0, 0, -1)


def test_memory_is_asked_for_before_anything_is_read(tmp_path):
    import dask

    image = vx.ScalarImage(tensor=arange((1, 64, 64, 64), "float32"))
    image.save(tmp_path / "a.nii")
    stored = vx.ScalarImage(tmp_path / "a.nii")
    with (
        dask.config.set({"voxarray.memory-budget": "1 MiB"}),
        count_reads() as reads,
        pytest.raises(vx.MemoryBudgetError, match=r"as_sitk\(\)"),
    ):
        stored.as_sitk()
    assert reads.voxels == 0
    assert not stored.get("data")
