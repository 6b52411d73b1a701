"""Zarr that others wrote: what they mean is what we show, or we say what is unclear."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import dask.config
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import voxarray as vx
from voxarray.archive.convert import convert
from voxarray.archive.metadata import Label
from voxarray.archive.options import LabelLayer, Options
from voxarray.core.errors import (
    FormatError,
    MissingDataError,
    MissingFileError,
    OutOfRangeError,
    SourceChangedError,
    UnsupportedError,
    VoxarrayWarning,
)
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection
from voxarray.nifti_header.build import header_for
from voxarray.source.array import ArraySource
from voxarray.source.base import Channels
from voxarray.testing.counting import count_reads
from zarr_samples import LPS, add_image, axes, numbers, ome, plain, scaled

OBLIQUE = np.array(
    [[-1.3, 0.21, 0.4, 41.7], [0.11, 0.9, -0.62, -17.3], [0.17, 0.33, 2.9, 5.1], [0, 0, 0, 1]]
)


def whole(source):
    return source.read(Selection.whole(source.shape))


def pair(scale=(3.0, 2.0, 1.5), shift=(-3.0, 5.0, 7.0)):
    """Two levels (z, y, x), the second of blocks of 2 x 2 x 2."""
    fine = numbers((6, 8, 4))
    coarse = fine[::2, ::2, ::2]
    moved = [t + s / 2 for s, t in zip(scale, shift, strict=True)]
    datasets = [
        {"coordinateTransformations": scaled(list(scale), list(shift))},
        {"coordinateTransformations": scaled([2 * s for s in scale], moved)},
    ]
    return [fine, coarse], datasets


def code_of(path, error=FormatError):
    with pytest.raises(error) as caught:
        whole(open_source(path))
    return caught.value.code


# --- OME-Zarr -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_levels_units_and_orientation(tmp_path, version):
    levels, datasets = pair()
    image = {"axes": axes("zyx", "centimeter", LPS), "datasets": datasets}
    source = open_source(ome(tmp_path / "a.zarr", levels, image, version))
    assert source.levels == 2
    # LPS centimetres as RAS millimetres: x and y change their sign.
    expected = np.array([[-15, 0, 0, -70], [0, -20, 0, -50], [0, 0, 30, -30], [0, 0, 0, 1]])
    np.testing.assert_allclose(source.affine, expected)
    np.testing.assert_array_equal(whole(source)[0], levels[0].transpose(2, 1, 0))
    second = source.level(1)
    np.testing.assert_array_equal(whole(second)[0], levels[1].transpose(2, 1, 0))
    # The centre of a coarse voxel is the mean of the centres of its eight.
    corner = expected @ [0.5, 0.5, 0.5, 1]
    np.testing.assert_allclose(second.affine[:, 3], corner)
    with pytest.raises(OutOfRangeError, match="levels 0 to 1") as caught:
        source.level(2)
    assert caught.value.code == "NO_LEVEL"


def test_without_orientation_axes_are_ras(tmp_path):
    levels, datasets = pair()
    image = {"axes": axes("zyx"), "datasets": datasets}
    source = open_source(ome(tmp_path / "a.zarr", levels, image))
    np.testing.assert_allclose(
        source.affine, [[1.5, 0, 0, 7], [0, 2, 0, 5], [0, 0, 3, -3], [0, 0, 0, 1]]
    )


def test_a_transformation_for_all_levels_comes_last(tmp_path):
    levels, datasets = pair((1, 1, 1), (1, 2, 3))
    image = {
        "axes": axes("zyx"),
        "datasets": datasets,
        "coordinateTransformations": [{"type": "scale", "scale": [4.0, 3.0, 2.0]}],
    }
    source = open_source(ome(tmp_path / "a.zarr", levels, image, "0.4"))
    np.testing.assert_allclose(
        source.affine, [[2, 0, 0, 6], [0, 3, 0, 6], [0, 0, 4, 4], [0, 0, 0, 1]]
    )


@pytest.mark.parametrize(
    ("names", "sizes", "shape", "channels"),
    [
        ("tczyx", (1, 3, 2, 4, 5), (3, 5, 4, 2), Channels()),
        ("tczyx", (3, 1, 2, 4, 5), (3, 5, 4, 2), Channels("time", 0.5)),
        ("tzyx", (1, 2, 4, 5), (1, 5, 4, 2), Channels("time", 0.5)),
        ("cyx", (3, 4, 5), (3, 5, 4, 1), Channels()),
        ("yx", (4, 5), (1, 5, 4, 1), Channels()),
        ("xyz", (5, 4, 2), (1, 5, 4, 2), Channels()),
        ("zxcy", (2, 5, 3, 4), (3, 5, 4, 2), Channels()),
    ],
)
def test_axes_in_any_order(tmp_path, names, sizes, shape, channels):
    voxels = numbers(sizes)
    steps = {"t": 500.0, "c": 1.0, "z": 4.0, "y": 3.0, "x": 2.0}
    scale = [steps[name] for name in names]
    image = {"axes": axes(names), "datasets": [{"coordinateTransformations": scaled(scale)}]}
    source = open_source(ome(tmp_path / "a.zarr", [voxels], image))
    assert (source.shape, source.channels) == (shape, channels)
    kept = [
        name
        for name in "ctxyz"
        if name in names and (name in "xyz" or sizes[names.index(name)] > 1)
    ]
    plane = np.einsum(f"{names}->{''.join(kept)}", voxels)
    np.testing.assert_array_equal(whole(source).reshape(plane.shape), plane)
    assert source.grid.spacing == pytest.approx((2, 3, 4 if "z" in names else 1))


def newest(transforms, systems, levels=None, after=None):
    image = {
        "coordinateSystems": systems,
        "datasets": [
            {
                "coordinateTransformations": [
                    {**t, "input": {"path": str(n)}, "output": {"name": "own"}}
                ]
            }
            for n, t in enumerate(transforms)
        ],
    }
    return image | ({"coordinateTransformations": after} if after else {})


def test_an_affine_between_coordinate_systems(tmp_path):
    # RFC-5: parameters in the order of the array, here z, y, x.
    order = np.eye(4)[[2, 1, 0, 3]]
    spacing = np.diag([2.0, 3.0, 4.0, 1.0])
    to_world = OBLIQUE @ np.linalg.inv(spacing)
    affine = (order @ to_world @ order)[:3]
    systems = [
        {"name": "own", "axes": axes("zyx")},
        {"name": "scanner", "axes": axes("zyx")},
    ]
    first = {"type": "sequence", "transformations": scaled([4.0, 3.0, 2.0])}
    after = [{"type": "affine", "affine": affine.tolist(), "input": "own", "output": "scanner"}]
    image = newest([first], systems, after=after)
    source = open_source(ome(tmp_path / "a.zarr", [numbers((3, 4, 5))], image, "0.6"))
    np.testing.assert_allclose(source.affine, OBLIQUE, atol=1e-12)
    # The same numbers in a world of LPS.
    image["coordinateSystems"][1]["axes"] = axes("zyx", orientation=LPS)
    lps = open_source(ome(tmp_path / "b.zarr", [numbers((3, 4, 5))], image, "0.6"))
    np.testing.assert_allclose(lps.affine, np.diag([-1, -1, 1, 1]) @ OBLIQUE, atol=1e-12)


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        ({"type": "identity"}, np.eye(4)),
        ({"type": "scale", "scale": [4, 3, 2]}, np.diag([2, 3, 4, 1])),
        (
            {"type": "rotation", "rotation": [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]},
            # (z, y, x) -> (x, y, -z): what is called z grows with x, what is called x falls with z
            [[0, 0, -1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]],
        ),
        (
            {"type": "mapAxis", "mapAxis": [1, 0, 2]},
            [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]],
        ),
    ],
)
def test_linear_transformations(tmp_path, transform, expected):
    image = newest([transform], [{"name": "own", "axes": axes("zyx")}])
    source = open_source(ome(tmp_path / "a.zarr", [numbers((3, 4, 5))], image, "0.6"))
    np.testing.assert_allclose(source.affine, expected)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    names=st.permutations("zyxc"),
    numbers_=st.lists(st.floats(-4, 4), min_size=12, max_size=12),
    steps=st.lists(st.sampled_from([-3, -1, 1, 2]), min_size=3, max_size=3),
)
def test_slices_of_any_affine_in_any_order_of_axes(tmp_path_factory, names, numbers_, steps):
    affine = np.vstack([np.array(numbers_).reshape(3, 4), [0, 0, 0, 1]])
    affine[:3, :3] += 9 * np.eye(3)
    sizes = {"c": 2, "x": 5, "y": 4, "z": 3}
    matrix = np.eye(5)
    for row, name in enumerate(names):
        if name in "xyz":
            matrix[row, 4] = affine["xyz".index(name), 3]
            for column, other in enumerate(names):
                matrix[row, column] = (
                    affine["xyz".index(name), "xyz".index(other)] if other in "xyz" else 0
                )
    image = newest(
        [{"type": "affine", "affine": matrix[:4].tolist()}],
        [{"name": "own", "axes": axes("".join(names))}],
    )
    voxels = numbers(tuple(sizes[name] for name in names))
    path = ome(tmp_path_factory.mktemp("any") / "a.zarr", [voxels], image, "0.6")
    scan = vx.ScalarImage(path)
    np.testing.assert_allclose(scan.affine, affine)
    key = tuple(slice(None, None, step) for step in steps)
    part = scan[key]
    expected = np.einsum(f"{''.join(names)}->cxyz", voxels)[(slice(None), *key)]
    np.testing.assert_array_equal(part.numpy(), expected)
    start = [0 if step > 0 else sizes[name] - 1 for step, name in zip(steps, "xyz", strict=True)]
    np.testing.assert_allclose(part.affine[:3, 3], (affine @ [*start, 1])[:3])


def test_labels_have_names_and_colours(tmp_path):
    levels, datasets = pair()
    path = ome(tmp_path / "a.zarr", levels, {"axes": axes("zyx"), "datasets": datasets})
    labels = zarr.open_group(path, mode="a").create_group("labels")
    labels.attrs["ome"] = {"labels": ["brain"]}
    brain = labels.create_group("brain")
    image = {"axes": axes("zyx"), "datasets": pair()[1]}
    add_image(brain, [level.astype("uint8") for level in levels], image, "0.5")
    described = {"colors": [{"label-value": 1, "rgba": [9, 8, 7, 255]}]}
    described["properties"] = [{"label-value": 1, "name": "cortex"}]
    brain.attrs["ome"] = {**brain.attrs["ome"], "image-label": described}
    source = open_source(path / "labels" / "brain")
    assert source.label_table == (Label(1, "cortex", (9, 8, 7, 255)),)
    vx.convert(path / "labels" / "brain", tmp_path / "ours.ome.zarr", label=True)
    assert open_source(tmp_path / "ours.ome.zarr").label_table == source.label_table
    image = vx.LabelMap(path / "labels" / "brain")
    image.load()
    assert vx.RemapLabels({1: 200})(image).label_colours == {200.0: (9, 8, 7)}
    # 5 occurs already, and has no name: it is not called cortex.
    assert vx.RemapLabels({1: 5})(image).label_colours == {}
    assert source.dtype == np.uint8
    assert vx.LabelMap(path / "labels/brain").count_labels()
    with pytest.raises(UnsupportedError, match=r"holds \['brain'\]") as caught:
        open_source(path / "labels")
    assert caught.value.code == "NO_IMAGE"


def test_the_array_of_a_level_knows_its_image(tmp_path):
    levels, datasets = pair()
    path = ome(
        tmp_path / "a.zarr", levels, {"axes": axes("zyx", orientation=LPS), "datasets": datasets}
    )
    by_level, by_path = open_source(path).level(1), open_source(path / "1")
    np.testing.assert_array_equal(by_level.affine, by_path.affine)
    np.testing.assert_array_equal(whole(by_level), whole(by_path))


# --- NIfTI-Zarr ---------------------------------------------------------------------------------


def with_header(path, header):
    group = zarr.open_group(path, mode="a")
    data = np.frombuffer(header, np.uint8)
    group.create_array("nifti", shape=data.shape, dtype="u1", overwrite=True)[...] = data
    return path


def test_a_nifti_header_places_and_scales(tmp_path):
    from voxarray.core.scaling import Scaling

    levels, datasets = pair((2.9, 1.1, 1.3), (0.0, 0.0, 0.0))
    path = ome(
        tmp_path / "a.nii.zarr", levels, {"axes": axes("zyx", "micrometer"), "datasets": datasets}
    )
    header = header_for((1, 4, 8, 6), np.dtype("i2"), OBLIQUE, scaling=Scaling(2.0, -1.0))
    source = open_source(with_header(path, header))
    np.testing.assert_allclose(source.affine, OBLIQUE.astype("f4"), rtol=0)
    np.testing.assert_array_equal(whole(source)[0], levels[0].transpose(2, 1, 0) * 2.0 - 1)
    np.testing.assert_array_equal(whole(source.unscaled())[0], levels[0].transpose(2, 1, 0))
    assert source.nifti_header is not None
    # A coarse voxel is two of the fine ones wide, and centred between them.
    half = source.affine @ [[2, 0, 0, 0.5], [0, 2, 0, 0.5], [0, 0, 2, 0.5], [0, 0, 0, 1]]
    np.testing.assert_allclose(source.level(1).affine, half, atol=1e-12)
    assert source.level(1).nifti_header is None


@pytest.mark.parametrize(("code", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 1e-3)])
def test_lengths_of_a_nifti_header_have_its_unit(tmp_path, code, factor):
    levels, datasets = pair()
    path = ome(tmp_path / "a.nii.zarr", levels, {"axes": axes("zyx"), "datasets": datasets})
    header = bytearray(header_for((1, 4, 8, 6), np.dtype("i2"), OBLIQUE))
    header[123] = code  # xyzt_units: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
    source = open_source(with_header(path, bytes(header)))
    expected = np.diag([factor, factor, factor, 1]) @ OBLIQUE.astype("f4").astype("f8")
    np.testing.assert_allclose(source.affine, expected, rtol=1e-12)


def test_labels_lie_where_the_header_puts_their_image(tmp_path):
    levels, datasets = pair((3, 2, 1.5), (0, 0, 0))
    path = ome(tmp_path / "a.nii.zarr", levels, {"axes": axes("zyx"), "datasets": datasets})
    with_header(path, header_for((1, 4, 8, 6), np.dtype("i2"), OBLIQUE))
    labels = zarr.open_group(path, mode="a").create_group("labels").create_group("brain")
    image = {"axes": axes("zyx"), "datasets": pair((3, 2, 1.5), (0, 0, 0))[1]}
    add_image(labels, levels, image, "0.5")
    found = open_source(path / "labels/brain")
    np.testing.assert_allclose(found.affine, OBLIQUE.astype("f4"), atol=1e-6)


def test_a_header_of_another_image(tmp_path):
    levels, datasets = pair()
    path = ome(tmp_path / "a.nii.zarr", levels, {"axes": axes("zyx"), "datasets": datasets})
    with_header(path, header_for((1, 4, 8, 7), np.dtype("i2"), OBLIQUE))
    assert code_of(path) == "HEADER_MISMATCH"


def test_our_archive_as_others_see_it(tmp_path):
    """Without our keys an archive is a NIfTI-Zarr, and means the same."""
    voxels = numbers((1, 9, 5, 7))
    path = tmp_path / "a.ome.zarr"
    layer = {"brain": LabelLayer(ArraySource((voxels % 3).astype("u1"), OBLIQUE))}
    convert(ArraySource(voxels, OBLIQUE), path, labels=layer, options=Options(levels=2))
    ours = [open_source(path).level(n) for n in (0, 1)]
    (path / "manifest.json").unlink()
    for document in (path / "zarr.json", path / "labels/brain/zarr.json"):
        content = json.loads(document.read_text())
        content["attributes"].pop("voxarray")
        document.write_text(json.dumps(content))
    theirs = open_source(path)
    for level in (0, 1):
        np.testing.assert_allclose(theirs.level(level).affine, ours[level].affine, atol=1e-5)
    np.testing.assert_array_equal(whole(theirs), voxels)
    labels = open_source(path / "labels/brain")
    np.testing.assert_allclose(labels.affine, OBLIQUE, atol=1e-5)
    np.testing.assert_array_equal(whole(labels), voxels % 3)


@pytest.mark.parametrize("inside", ["", "labels/brain", "scale0/image"])
def test_ours_without_manifest_stays_refused(tmp_path, inside):
    voxels = numbers((1, 9, 5, 7))
    path = tmp_path / "a.ome.zarr"
    layer = {"brain": LabelLayer(ArraySource((voxels % 3).astype("u1"), OBLIQUE))}
    convert(ArraySource(voxels, OBLIQUE), path, labels=layer)
    (path / "manifest.json").unlink()
    assert code_of(path / inside, MissingDataError) == "NO_MANIFEST"


def test_a_manifest_of_something_else_above(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")  # of a web page, say
    path = plain(tmp_path / "a.zarr", numbers((3, 4, 5)), ["z", "y", "x"])
    with pytest.warns(VoxarrayWarning, match="nothing says where"):
        assert open_source(path).shape == (1, 5, 4, 3)


# --- Plain arrays and xarray's groups -----------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
def test_what_xarray_wrote(tmp_path, version):
    voxels = numbers((2, 5, 4, 3))
    array = vx.ScalarImage(tensor=voxels, affine=OBLIQUE).array
    array.to_dataset(name="image").to_zarr(
        tmp_path / "a.zarr", zarr_format=version, consolidated=False
    )
    source = open_source(tmp_path / "a.zarr")
    np.testing.assert_allclose(source.affine, OBLIQUE, atol=1e-9)
    np.testing.assert_array_equal(whole(source), voxels)
    array[:, ::-1, 1:, ::2].to_dataset(name="image").to_zarr(
        tmp_path / "b.zarr", zarr_format=version
    )
    part = vx.ScalarImage(tmp_path / "b.zarr")
    np.testing.assert_allclose(
        part.affine, vx.ScalarImage(tensor=voxels, affine=OBLIQUE)[::-1, 1:, ::2].affine, atol=1e-9
    )


@pytest.mark.parametrize("version", [2, 3])
def test_a_plane_that_xarray_selected_by_an_integer_keeps_its_place(tmp_path, version):
    scan = vx.ScalarImage(tensor=numbers((2, 5, 4, 3)), affine=OBLIQUE)
    for name, plane, expected in (
        ("last", scan.array.isel(z=2), scan[:, :, 2]),
        (
            "of a step",
            scan.array.isel(x=slice(None, None, -1), z=slice(1, None, 2)).isel(z=0),
            None,
        ),
        ("turned", scan.array.isel(z=0).transpose("y", "c", "x"), scan[:, :, 0]),
    ):
        plane.to_dataset(name="image").to_zarr(
            tmp_path / name, zarr_format=version, consolidated=False
        )
        expected = expected or vx.ScalarImage.from_xarray(plane)
        source = open_source(tmp_path / name)
        np.testing.assert_allclose(source.affine, expected.affine, atol=1e-9)
        np.testing.assert_array_equal(whole(source), expected.numpy())


def test_the_plane_of_another_array_is_not_that_of_this_one(tmp_path):
    coords = {axis: (axis, [0.0, 2.0], {"units": "mm"}) for axis in "xy"}
    plane = xr.DataArray(numbers((2, 2)), coords, ("x", "y"))
    plane.to_dataset(name="v").to_zarr(tmp_path / "a.zarr", consolidated=False)
    group = zarr.open_group(tmp_path / "a.zarr", mode="a")
    group.create_array("z", shape=(), dtype="f8", attributes={"step": 4.0, "units": "mm"})[...] = 9
    assert open_source(tmp_path / "a.zarr/v").affine[2].tolist() == [0, 0, 1, 0]
    group["v"].attrs["coordinates"] = "z"
    assert open_source(tmp_path / "a.zarr/v").affine[2].tolist() == [0, 0, 4, 9]
    group["z"].attrs.pop("step")
    group["z"].attrs.put({"units": "mm"})
    assert code_of(tmp_path / "a.zarr/v") == "UNKNOWN_SPACING"


@pytest.fixture
def levels(tmp_path):
    """An archive of two levels with a label map, of which the coarse ones have no coordinates."""
    voxels = numbers((1, 9, 5, 7))
    path = tmp_path / "a.ome.zarr"
    layer = {"brain": LabelLayer(ArraySource((voxels % 3).astype("u1"), OBLIQUE))}
    convert(ArraySource(voxels, OBLIQUE), path, labels=layer, options=Options(levels=2))
    return path


@pytest.mark.parametrize("image", ["", "labels/brain"])
@pytest.mark.parametrize("array", ["", "image"])
def test_a_path_of_a_level_names_its_archive(levels, image, array):
    path = levels / image / "scale1" / array
    with pytest.raises(FormatError, match=r"take image.level\(1\)") as caught:
        open_source(path)
    assert caught.value.code == "BAD_METADATA"
    assert f"it is a level of {levels / image}; open that" in caught.value.message


@pytest.mark.parametrize("image", ["", "labels/brain"])
@pytest.mark.parametrize("array", ["", "image"])
def test_a_level_without_its_archive_is_not_taken_for_1_mm(levels, tmp_path, image, array):
    shutil.copytree(levels / image / "scale1", tmp_path / "level.zarr")
    with pytest.raises(FormatError, match="taken out of its archive") as caught:
        open_source(tmp_path / "level.zarr" / array)
    assert caught.value.code == "NO_COORDINATES"
    shutil.copytree(levels / image / "scale0", tmp_path / "base.zarr")
    base = open_source(tmp_path / "base.zarr" / array)
    np.testing.assert_allclose(base.affine, OBLIQUE, atol=1e-9)


@pytest.mark.parametrize("version", [2, 3])
def test_a_level_that_xarray_copied_is_not_taken_for_1_mm(levels, tmp_path, version):
    plain = xr.open_zarr(levels, group="scale1", consolidated=False).drop_encoding()
    plain.to_zarr(tmp_path / "plain.zarr", zarr_format=version, consolidated=False)
    assert code_of(tmp_path / "plain.zarr") == "NO_COORDINATES"
    # With coordinates it is where they say, whatever else its attributes say.
    placed = vx.ScalarImage(levels).level(1).array.assign_attrs(plain["image"].attrs)
    placed.to_dataset(name="image").to_zarr(
        tmp_path / "placed.zarr", zarr_format=version, consolidated=False
    )
    affine = open_source(levels).level(1).affine
    np.testing.assert_allclose(open_source(tmp_path / "placed.zarr").affine, affine, atol=1e-9)


@pytest.mark.parametrize("lose", [("spatial_ref",), ()])
def test_what_lost_its_directions_is_not_taken_for_ras(tmp_path, lose):
    array = vx.ScalarImage(tensor=numbers((1, 5, 4, 3)), affine=OBLIQUE).array
    lost = array.drop_vars(lose) if lose else array.reset_coords(drop=True)
    lost.to_dataset(name="image").to_zarr(tmp_path / "a.zarr", consolidated=False)
    with pytest.raises(FormatError, match="'spatial_ref' was lost") as caught:
        open_source(tmp_path / "a.zarr")
    assert caught.value.code == "NO_SPATIAL_REF"
    opened = xr.open_zarr(tmp_path / "a.zarr", consolidated=False)["image"]
    again = vx.ScalarImage.from_xarray(opened, affine=array.vox.affine)
    np.testing.assert_array_equal(again.numpy(), array.values)


def test_the_thickness_of_a_plane_of_others(tmp_path):
    coords = {"x": [0.0, 2.0], "y": [0.0, 3.0, 6.0], "z": ("z", [5.0], {"step": 4.0})}
    plane = xr.DataArray(numbers((2, 3, 1)), coords, ("x", "y", "z"), name="image")
    for axis in "xyz":
        plane[axis].attrs["units"] = "mm"
    plane.to_dataset().to_zarr(tmp_path / "a.zarr", consolidated=False)
    np.testing.assert_array_equal(np.diag(open_source(tmp_path / "a.zarr").affine), [2, 3, 4, 1])


@pytest.mark.parametrize("version", [2, 3])
def test_a_series_that_xarray_wrote(tmp_path, version):
    voxels, series = numbers((4, 5, 4, 3)), Channels("time", 2.0)
    array = vx.ScalarImage(tensor=voxels).array
    array.attrs |= {"channel_kind": "time", "channel_step": 2.0, "channel_count": 4}
    assert vx.ScalarImage.from_xarray(array).source.channels == series
    for name, part, channels in (
        ("whole", array, series),
        ("half", array[::2], Channels("time")),
        ("odd", array.assign_attrs(channel_step="?"), Channels("time")),
    ):
        part.to_dataset(name="image").to_zarr(
            tmp_path / name, zarr_format=version, consolidated=False
        )
        source = open_source(tmp_path / name)
        assert source.channels == channels
        np.testing.assert_array_equal(whole(source), part.values)


def test_coordinates_of_others(tmp_path):
    coords = {"x": ("x", [0.5, 1.0, 1.5], {"units": "cm"}), "y": ("y", [9.0, 7.0], {"units": "mm"})}
    coords["z"] = ("z", [0.0, 2.0, 4.0, 6.0], {"units": "um"})
    coords["time"] = ("time", [0.0, 1.5], {"units": "s"})
    data = xr.Dataset({"v": (("time", "z", "y", "x"), numbers((2, 4, 2, 3)))}, coords)
    data["v"].attrs |= {"scale_factor": 0.5, "add_offset": 10.0}
    data.to_zarr(tmp_path / "a.zarr")
    source = open_source(tmp_path / "a.zarr")
    np.testing.assert_allclose(np.diag(source.affine)[:3], [5, -2, 0.002])
    np.testing.assert_allclose(source.affine[:3, 3], [5, 9, 0])
    assert source.channels == Channels("time", 1.5)
    expected = data["v"].values.transpose(0, 3, 2, 1) * 0.5 + 10
    np.testing.assert_array_equal(whole(source), expected)


def test_uneven_coordinates(tmp_path):
    coords = {"x": [0.0, 1.0, 3.0], "y": [0.0, 1.0]}
    xr.Dataset({"v": (("y", "x"), numbers((2, 3)))}, coords).to_zarr(tmp_path / "a.zarr")
    with pytest.warns(VoxarrayWarning, match="does not say its unit"):
        assert code_of(tmp_path / "a.zarr") == "NOT_UNIFORM"


def test_unknown_units_are_read_as_millimetres_with_a_warning(tmp_path):
    image = {
        "axes": axes("yx", "furlong"),
        "datasets": [{"coordinateTransformations": scaled([2, 2])}],
    }
    path = ome(tmp_path / "a.zarr", [numbers((3, 4))], image)
    with pytest.warns(VoxarrayWarning, match="unknown unit 'furlong'"):
        assert open_source(path).grid.spacing == (2, 2, 1)


def test_a_bare_array_is_placed_with_a_warning(tmp_path):
    path = plain(tmp_path / "a.zarr", numbers((3, 4, 5)), ["z", "y", "x"])
    with pytest.warns(VoxarrayWarning, match="nothing says where"):
        source = open_source(path)
    np.testing.assert_array_equal(source.affine, np.eye(4))
    assert source.shape == (1, 5, 4, 3)


# --- What is unclear is refused by name ---------------------------------------------------------


def broken(tmp_path, **changes):
    levels, datasets = pair()
    image = {"axes": axes("zyx"), "datasets": datasets} | changes
    return ome(tmp_path / "a.zarr", levels, image)


def test_several_images(tmp_path):
    path = broken(tmp_path)
    group = zarr.open_group(path, mode="a")
    content = dict(group.attrs["ome"])
    group.attrs["ome"] = {**content, "multiscales": content["multiscales"] * 2}
    assert code_of(path) == "MULTIPLE_IMAGES"
    group.attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    assert code_of(path, UnsupportedError) == "NO_IMAGE"  # its children are levels, no images


def test_several_arrays(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    for name in ("one", "two"):
        group.create_array(name, shape=(3, 4), dtype="u1", dimension_names=["y", "x"])
    assert code_of(tmp_path / "a.zarr") == "MULTIPLE_IMAGES"
    with pytest.warns(VoxarrayWarning):
        assert open_source(tmp_path / "a.zarr/one").shape == (1, 4, 3, 1)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        (
            {"coordinateTransformations": [{"type": "displacements", "path": "d"}]},
            "UNSUPPORTED_TRANSFORM",
        ),
        ({"coordinateTransformations": [{"type": "scale", "path": "s"}]}, "UNSUPPORTED_TRANSFORM"),
        ({"coordinateTransformations": [{"type": "scale", "scale": [1, 2]}]}, "BAD_METADATA"),
        ({"coordinateTransformations": [{"type": "scale", "scale": [1, 2, "x"]}]}, "BAD_METADATA"),
        (
            {"coordinateTransformations": [{"type": "scale", "scale": [1, 2, float("nan")]}]},
            "BAD_METADATA",
        ),
        ({"coordinateTransformations": {"type": "scale"}}, "BAD_METADATA"),
        ({"coordinateTransformations": [{"type": "scale", "scale": [1, 0, 1]}]}, "BAD_AFFINE"),
        ({"axes": axes("zyx", orientation={"x": "left-to-right"})}, "BAD_ORIENTATION"),
        ({"axes": axes("zyx", orientation=LPS | {"y": "left-to-right"})}, "BAD_ORIENTATION"),
        ({"axes": axes("zyx", orientation=LPS | {"y": "dorsal-to-ventral"})}, "BAD_ORIENTATION"),
        ({"axes": [{"name": n} for n in "zyq"]}, "BAD_AXES"),
    ],
)
def test_what_cannot_be_placed(tmp_path, changes, code):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VoxarrayWarning)
        assert code_of(broken(tmp_path, **changes)) == code


def test_names_of_axes_that_contradict_each_other(tmp_path):
    path = broken(tmp_path)
    content = json.loads((path / "1/zarr.json").read_text())
    content["dimension_names"] = ["y", "z", "x"]
    (path / "1/zarr.json").write_text(json.dumps(content))
    assert code_of(path) == "BAD_AXES"


def test_time_and_channels(tmp_path):
    image = {"axes": axes("tcyx"), "datasets": [{"coordinateTransformations": scaled([1.0] * 4)}]}
    path = ome(tmp_path / "a.zarr", [numbers((2, 3, 4, 5))], image)
    assert code_of(path, UnsupportedError) == "UNSUPPORTED_DIMS"


def test_places_that_differ_per_channel(tmp_path):
    affine = np.eye(5)[:4]
    affine[2, 0] = 0.5  # y grows with c
    image = newest(
        [{"type": "affine", "affine": affine.tolist()}], [{"name": "own", "axes": axes("czyx")}]
    )
    path = ome(tmp_path / "a.zarr", [numbers((2, 3, 4, 5))], image, "0.6")
    assert code_of(path) == "MIXED_AXES"


def test_two_worlds(tmp_path):
    systems = [{"name": name, "axes": axes("yx")} for name in ("own", "one", "two")]
    after = [{"type": "identity", "input": "own", "output": name} for name in ("one", "two")]
    image = newest([{"type": "identity"}], systems, after=after)
    assert code_of(ome(tmp_path / "a.zarr", [numbers((3, 4))], image, "0.6")) == "AMBIGUOUS_SYSTEMS"
    image["coordinateTransformations"] = [{"type": "identity", "input": "own", "output": "own"}]
    assert code_of(ome(tmp_path / "b.zarr", [numbers((3, 4))], image, "0.6")) == "BAD_METADATA"


def test_versions_without_geometry(tmp_path):
    path = broken(tmp_path, version="0.3")
    assert code_of(path, UnsupportedError) == "OME_VERSION"


def test_arrays_that_are_no_image(tmp_path):
    assert code_of(plain(tmp_path / "a.zarr", numbers((3, 4, 5)), None)) == "NO_AXES"
    assert code_of(plain(tmp_path / "b.zarr", numbers((3, 4)), ["y", "lon"])) == "BAD_AXES"
    path = plain(tmp_path / "c.zarr", np.array([["a", "b"]]), ["y", "x"])
    assert code_of(path, UnsupportedError) in ("UNSUPPORTED_DTYPE", "UNKNOWN_CODEC")


def test_codecs_that_run_code_are_refused(tmp_path):
    path = plain(tmp_path / "a.zarr", numbers((3, 4)), ["y", "x"])
    content = json.loads((path / "zarr.json").read_text())
    content["codecs"] = [{"name": "numcodecs.pickle"}]
    (path / "zarr.json").write_text(json.dumps(content))
    assert code_of(path, UnsupportedError) == "UNKNOWN_CODEC"


def test_bombs(tmp_path):
    zarr.create_array(
        tmp_path / "a.zarr",
        shape=(4096,) * 3,
        chunks=(1024,) * 3,
        dtype="u1",
        dimension_names=list("zyx"),
    )
    assert code_of(tmp_path / "a.zarr") == "BOMB"
    with dask.config.set({"voxarray.chunk-limit": "1 GiB"}), pytest.warns(VoxarrayWarning):
        assert open_source(tmp_path / "a.zarr").shape == (1, 4096, 4096, 4096)


def test_integers_that_stand_for_nothing(tmp_path):
    path = plain(tmp_path / "a.zarr", numbers((3, 4)), ["y", "x"], attributes={"_FillValue": -1})
    with pytest.warns(VoxarrayWarning):
        assert code_of(path) == "MASKED"


@pytest.mark.parametrize("text", ["{", "[]", '{"attributes": []}', "[" * 100_000, "\xff"])
def test_metadata_that_are_none(tmp_path, text):
    path = plain(tmp_path / "a.zarr", numbers((3, 4)), ["y", "x"])
    (path / "zarr.json").write_text(text, encoding="latin-1")
    assert code_of(path) == "BAD_METADATA"


# --- Reading ------------------------------------------------------------------------------------


def test_a_missing_chunk_is_the_fill_value(tmp_path):
    """Zarr's rule, which we keep for stores of others and never for ours."""
    path = plain(tmp_path / "a.zarr", numbers((4, 4)), ["y", "x"], chunks=(2, 2), fill_value=7)
    (path / "c/0/0").unlink()
    with pytest.warns(VoxarrayWarning):
        seen = whole(open_source(path))[0, :, :, 0]
    expected = numbers((4, 4)).T.copy()
    expected[:2, :2] = 7
    np.testing.assert_array_equal(seen, expected)


def test_a_damaged_chunk(tmp_path):
    path = plain(tmp_path / "a.zarr", numbers((4, 4)), ["y", "x"], chunks=(2, 2))
    (path / "c/0/0").write_bytes(b"nothing")
    with pytest.warns(VoxarrayWarning):
        assert code_of(path) == "BAD_CHUNK"


def test_a_link_out_of_the_store(tmp_path):
    path = plain(tmp_path / "a.zarr", numbers((4, 4), "u1"), ["y", "x"], compressors=None)
    (tmp_path / "secret").write_bytes(b"0123456789abcdef")
    (path / "c/0/0").unlink()
    (path / "c/0/0").symlink_to(tmp_path / "secret")
    with pytest.warns(VoxarrayWarning), pytest.raises(OSError, match="is a link"):
        whole(open_source(path))


def test_changed_after_it_was_opened(tmp_path):
    levels, datasets = pair()
    path = ome(tmp_path / "a.zarr", levels, {"axes": axes("zyx"), "datasets": datasets})
    source = open_source(path)
    document = path / "0/zarr.json"
    document.write_text(document.read_text() + " ")
    with pytest.raises(SourceChangedError):
        whole(source)
    shutil.rmtree(path)
    with pytest.raises(SourceChangedError):
        whole(source)


def chunked(folder):
    """An array of 2 x 2 x 2 chunks, of which one file each is the first and the last."""
    voxels = numbers((4, 4, 4))
    path = plain(folder / "a.zarr", voxels, ["z", "y", "x"], chunks=(2, 2, 2))
    return voxels, path / "c/0/0/0", path / "c/1/1/1"


CHANGES = {
    "written again": lambda chunk: chunk.write_bytes(chunk.read_bytes()[::-1]),
    "cut short": lambda chunk: os.truncate(chunk, 7),
    "deleted": lambda chunk: chunk.unlink(),
    "its folder deleted": lambda chunk: shutil.rmtree(chunk.parents[1]),
    "replaced": lambda chunk: os.replace(shutil.copy(chunk, chunk.with_name("new")), chunk),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("first_read", [True, False])
def test_chunks_that_change_after_the_array_was_opened(tmp_path, change, first_read):
    voxels, _, last = chunked(tmp_path)
    with pytest.warns(VoxarrayWarning):
        source = open_source(tmp_path / "a.zarr")
    if first_read:
        np.testing.assert_array_equal(whole(source)[0], voxels.T)
    time.sleep(0.02)  # files are stamped with a clock that ticks
    change(last)
    corner = Selection.box((0, 1), (0, 2), (0, 2), (0, 2))
    np.testing.assert_array_equal(source.read(corner)[0], voxels[:2, :2, :2].T)  # another chunk
    for _ in range(2):
        with pytest.raises(SourceChangedError, match=r"c/1/.* of .*: open it again"):
            whole(source)


def test_chunks_that_appear_after_the_array_was_opened(tmp_path):
    _, _, last = chunked(tmp_path)
    kept = last.read_bytes()
    last.unlink()
    with pytest.warns(VoxarrayWarning):
        source = open_source(tmp_path / "a.zarr")
    assert (whole(source)[0, 2:, 2:, 2:] == 0).all()  # Zarr's rule
    last.write_bytes(kept)
    with pytest.raises(SourceChangedError):
        whole(source)


def test_rights_links_and_times_are_no_change(tmp_path):
    """Backups make links, and clocks were wrong when files were made."""
    voxels, first, last = chunked(tmp_path)
    os.utime(first, (2e9, 2e9))
    with pytest.warns(VoxarrayWarning):
        source = open_source(tmp_path / "a.zarr")
    time.sleep(0.02)
    last.chmod(0o600)
    os.link(last, tmp_path / "backup")
    np.testing.assert_array_equal(whole(pickle.loads(pickle.dumps(source)))[0], voxels.T)


@pytest.mark.filterwarnings("ignore::voxarray.core.errors.VoxarrayWarning")
def test_opened_again_it_is_the_new_image(tmp_path):
    chunked(tmp_path)
    old = open_source(tmp_path / "a.zarr")
    whole(old)
    zarr.open_array(tmp_path / "a.zarr")[2:] = 7
    time.sleep(0.02)
    new = open_source(tmp_path / "a.zarr")
    assert (whole(new)[0, ..., 2:] == 7).all()
    with pytest.raises(SourceChangedError):
        whole(old)


def test_as_many_chunks_are_remembered_as_there_is_room(tmp_path, monkeypatch):
    monkeypatch.setattr("voxarray.formats.zarr.change_detection.MOST_REMEMBERED", 2)
    voxels, *_ = chunked(tmp_path)
    with pytest.warns(VoxarrayWarning):
        source = open_source(tmp_path / "a.zarr")
    for _ in range(2):
        np.testing.assert_array_equal(whole(source)[0], voxels.T)


def test_pickles_slices_and_counts(tmp_path):
    levels, datasets = pair()
    path = ome(tmp_path / "a.zarr", levels, {"axes": axes("zyx"), "datasets": datasets})
    with count_reads() as reads:
        scan = vx.ScalarImage(path)[1:3, ::-1]
        again = pickle.loads(pickle.dumps(scan))
        assert again == scan
        assert "ScalarImage" in repr(again)
    assert reads.voxels == 0
    np.testing.assert_array_equal(again.numpy()[0], levels[0].transpose(2, 1, 0)[1:3, ::-1])
    np.testing.assert_array_equal(scan.array.values[0], levels[0].transpose(2, 1, 0)[1:3, ::-1])


@pytest.mark.parametrize("inside", ["", "labels/brain"])
def test_inside_a_zip(tmp_path, inside):
    voxels = numbers((1, 9, 5, 7))
    path = tmp_path / "a.ozx"
    layer = {"brain": LabelLayer(ArraySource((voxels % 3).astype("u1"), OBLIQUE))}
    convert(ArraySource(voxels, OBLIQUE), path, labels=layer)
    kind = vx.LabelMap if inside else vx.ScalarImage
    image = kind(path / inside)
    np.testing.assert_array_equal(image.numpy(), voxels % 3 if inside else voxels)
    with pytest.raises(MissingFileError, match="brain"):
        open_source(path / "labels/none")


def test_zips_of_other_programs_open_only_if_stored(tmp_path):
    levels, datasets = pair()
    folder = ome(tmp_path / "a.zarr", levels, {"axes": axes("zyx"), "datasets": datasets})
    shutil.make_archive(str(tmp_path / "deflated"), "zip", folder)
    (tmp_path / "deflated.zip").rename(tmp_path / "deflated.ozx")
    assert code_of(tmp_path / "deflated.ozx") == "BAD_ZIP"
    import zipfile

    with zipfile.ZipFile(tmp_path / "stored.ozx", "w") as archive:
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    source = open_source(tmp_path / "stored.ozx")
    np.testing.assert_array_equal(whole(source), whole(open_source(folder)))


def test_our_archives_need_no_zarr_python(tmp_path):
    convert(ArraySource(numbers((1, 3, 4, 5)), OBLIQUE), tmp_path / "a.ome.zarr")
    code = (
        "import sys; from voxarray.formats.registry import open_source;"
        f"open_source({str(tmp_path / 'a.ome.zarr')!r}).affine; print('zarr' in sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "False"


def test_chunks_of_several_sizes_are_refused(tmp_path):
    path = plain(tmp_path / "a.zarr", numbers((3, 4)), ["y", "x"])
    document = json.loads((Path(path) / "zarr.json").read_text())
    sizes = {"kind": "inline", "chunk_shapes": [[1, 2], [4]]}
    document["chunk_grid"] = {"name": "rectilinear", "configuration": sizes}
    (Path(path) / "zarr.json").write_text(json.dumps(document))
    # Older releases of zarr-python do not know the grid.
    assert code_of(path, (FormatError, UnsupportedError)) in ("CHUNK_GRID", "BAD_METADATA")
