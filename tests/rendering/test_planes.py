"""Planes show what is where radiologists look for it, and cost no more than their voxels."""

from __future__ import annotations

import numpy as np
import pytest

import voxarray as vx
from rendering.conftest import AFFINES, canonical
from voxarray.core.errors import OutOfRangeError
from voxarray.rendering.planes import View, flat_axes, orthogonal
from voxarray.testing.counting import count_reads

SHAPE = (9, 10, 11)


def planes_of(voxels, affine, **view):
    return orthogonal(vx.ScalarImage(tensor=voxels[None], affine=affine).source, View(**view))


def random_voxels(seed=0):
    return np.random.default_rng(seed).integers(0, 999, SHAPE).astype(np.int16)


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_a_corner_of_the_patient(affine):
    """Right, anterior and superior is left, left and top in the three pictures."""
    grid = vx.Grid(SHAPE, affine)
    corner = grid.to_index([grid.bounds[1]])[0]  # largest R, A, S
    index = tuple(np.clip(corner.round().astype(int), 0, np.array(SHAPE) - 1))
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[index] = 200
    seen = vx.Grid(SHAPE, affine).reorient("RAS").shape
    last = [n - 1 for n in seen]
    for plane in planes_of(voxels, affine, indices=last):
        assert plane.pixels[0, 0, 0] == 200  # top left of all three
        assert np.count_nonzero(plane.pixels) == 1
    sides = [plane.sides for plane in planes_of(voxels, affine)]
    assert sides == ["APIS", "RLIS", "RLPA"]


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("indices", [None, (1, 2, 3), (-1, 0, -2)])
def test_as_torchio_lays_them_out(affine, indices):
    """Rows up, columns to the left, of the volume that nibabel brings into RAS+ order."""
    voxels = random_voxels()
    ras = canonical(voxels, affine)
    i, j, k = [n // 2 for n in ras.shape] if indices is None else indices
    expected = [ras[i], ras[:, j], ras[:, :, k]]
    found = planes_of(voxels, affine, indices=indices)
    mirrored = planes_of(voxels, affine, indices=indices, radiological=False)
    for plane, other, section in zip(found, mirrored, expected, strict=True):
        np.testing.assert_array_equal(plane.pixels[..., 0], section.T[::-1, ::-1])
        np.testing.assert_array_equal(other.pixels[..., 0], section.T[::-1])
        assert plane.sides[:2] == other.sides[1::-1]
    assert [plane.name for plane in found] == ["Sagittal", "Coronal", "Axial"]


def test_without_reorienting_planes_are_named_by_what_they_are():
    voxels = random_voxels()
    found = planes_of(voxels, AFFINES["PIR"], reorient=False)
    assert [plane.name for plane in found] == ["Coronal", "Axial", "Sagittal"]
    np.testing.assert_array_equal(found[0].pixels[..., 0], voxels[4].T[::-1, ::-1])
    assert found[0].sides == "ISLR"  # columns along H, to the inferior; rows along D, to the right


def test_proportions_and_indices():
    sagittal, coronal, axial = planes_of(random_voxels(), AFFINES["RAS"])
    assert (sagittal.width, sagittal.height) == (20, 33)
    assert (coronal.width, coronal.height) == (9, 33)
    assert (axial.width, axial.height) == (9, 20)
    assert axial.extent == (8.5, -0.5, -0.5, 9.5)


@pytest.mark.parametrize("indices", [(9, 0, 0), (0, -11, 0), (0, 0)])
def test_indices_beyond_the_image(indices):
    with pytest.raises(OutOfRangeError, match=r"\(9, 10, 11\) voxels along R, A, S"):
        planes_of(random_voxels(), np.eye(4), indices=indices)


def test_flat_images():
    assert flat_axes((5, 5, 1)) == (2,)
    assert flat_axes((1, 5, 5)) == (0,)
    assert flat_axes((5, 5, 5)) == flat_axes((1, 1, 5)) == (0, 1, 2)


def test_only_the_planes_are_read(tmp_path):
    path = tmp_path / "scan.nii"
    vx.ScalarImage(tensor=random_voxels()[None], affine=AFFINES["PIR"]).save(path)
    image = vx.ScalarImage(path)
    with count_reads() as reads:
        orthogonal(image.source)
    assert reads.voxels == 9 * 10 + 9 * 11 + 10 * 11


def test_the_coarsest_sufficient_level(tmp_path):
    """A level shows the same place; its pixels are twice as large, its extent in voxels equal."""
    ramp = np.add.outer(np.add.outer(np.arange(128), np.arange(130)), np.arange(131))
    path = tmp_path / "scan.ome.zarr"
    affine = np.diag([-1, -1, -1, 1.0])
    vx.ScalarImage(tensor=ramp[None].astype(np.int16), affine=affine).save(path, levels="all")
    source = vx.ScalarImage(path).source
    assert source.levels > 1
    with count_reads() as reads:
        coarse = orthogonal(source, View(pixels=64))
    fine = orthogonal(source, View(pixels=500))
    assert reads.voxels == 64 * 65 + 64 * 65 + 65 * 65
    for few, many in zip(coarse, fine, strict=True):
        assert few.pixels.shape[0] == many.pixels.shape[0] // 2
        rows, columns = (2 * n for n in few.pixels.shape[:2])
        shrunk = many.pixels[-rows:, :columns] if rows <= many.pixels.shape[0] else None
        means = shrunk.reshape(rows // 2, 2, columns // 2, 2).mean((1, 3))
        assert abs(means - few.pixels[..., 0]).max() <= 2.5


def test_large_compressed_files_are_decoded_once(tmp_path):
    import dask

    path = tmp_path / "scan.nii.gz"
    voxels = random_voxels()
    vx.ScalarImage(tensor=voxels[None]).save(path)
    expected = planes_of(voxels, np.eye(4))
    with dask.config.set({"voxarray.gzip-whole-limit": 100}), count_reads() as reads:
        found = orthogonal(vx.ScalarImage(path).source)
    assert reads.passes == 1
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_plane_that_is_too_large_is_thinned_and_the_right_one_shown(monkeypatch):
    from voxarray.rendering import planes as module
    from voxarray.source.array import ArraySource

    voxels = np.broadcast_to(np.arange(30, dtype="i2"), (1, 64, 48, 30)).copy()
    source = ArraySource(voxels, np.eye(4))
    view = View(pixels=8, indices=(3, 4, 17))
    whole = orthogonal(source, view)
    monkeypatch.setattr(module, "_LARGEST_PLANE", 100)
    thin = orthogonal(source, view)
    assert (thin[2].pixels == 17).all()
    assert thin[2].pixels.size < 64 * 48
    for large, small in zip(whole, thin, strict=True):
        assert large.name == small.name
        assert abs(large.width - small.width) <= 4  # a step of voxels at the edges
