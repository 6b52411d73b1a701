"""OME-Zarr documents of all versions: what is valid opens, what says no size is refused."""

from __future__ import annotations

import warnings
import zipfile

import numpy as np
import pytest
import zarr

from voxarray.core.errors import FormatError, UnsupportedError, VoxarrayError, VoxarrayWarning
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection
from zarr_samples import axes, numbers, ome, scaled

VOXELS = numbers((4, 6, 8))
SCALE = {"type": "scale", "scale": [2.0, 0.5, 0.25]}
MOVE = {"type": "translation", "translation": [1.0, 2.0, 3.0]}
SPACING = (0.25, 0.5, 2.0)


def code_of(path, kind=VoxarrayError):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VoxarrayWarning)
        with pytest.raises(kind) as caught:
            open_source(path)
    return caught.value.code


def new(tmp_path, transforms, after=(), systems=("own",), version="0.6", units=None):
    described = [
        {"name": name, "axes": axes("zyx", (units or {}).get(name, "millimeter"))}
        for name in systems
    ]
    level = [{"input": {"path": "0"}, "output": {"name": "own"}} | one for one in transforms]
    image = {
        "coordinateSystems": described,
        "datasets": [{"coordinateTransformations": level}],
        "coordinateTransformations": list(after),
    }
    return ome(tmp_path / "a.zarr", [VOXELS], image, version)


# --- Sizes ------------------------------------------------------------------------------------

WITHOUT_SCALE = {
    "missing": None,
    "empty": [],
    "translation": [MOVE],
    "sequence": [{"type": "sequence", "transformations": [MOVE]}],
}
TWO_SCALES = {
    "twice": [SCALE, SCALE],
    "in a sequence": [{"type": "sequence", "transformations": [SCALE, MOVE, SCALE]}],
}


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize(
    ("transforms", "code"),
    [
        *((value, "NO_SCALE") for value in WITHOUT_SCALE.values()),
        *((value, "BAD_METADATA") for value in TWO_SCALES.values()),
    ],
)
def test_a_level_has_one_scale(tmp_path, version, level, transforms, code):
    datasets = [{"coordinateTransformations": [SCALE]} for _ in range(2)]
    if transforms is None:
        del datasets[level]["coordinateTransformations"]
    else:
        datasets[level]["coordinateTransformations"] = transforms
    image = {"axes": axes("zyx"), "datasets": datasets}
    if version == "0.6":
        image = {
            "coordinateSystems": [{"name": "own", "axes": axes("zyx")}],
            "datasets": datasets,
        }
    # One for all levels is no substitute: the specification asks each for its own.
    path = ome(tmp_path / "a.zarr", [VOXELS, VOXELS[::2, ::2, ::2]], image, version)
    assert code_of(path, FormatError) == code


PARTS = [
    {"transformation": {"type": "scale", "scale": [2.0]}, "inputAxes": [0], "outputAxes": [0]},
    {
        "transformation": {
            "type": "sequence",
            "transformations": [{"type": "scale", "scale": [0.5, 0.25]}],
        },
        "inputAxes": [1, 2],
        "outputAxes": [1, 2],
    },
]


@pytest.mark.parametrize(
    "transform",
    [
        {"type": "byDimension", "transformations": PARTS},
        {
            "type": "byDimension",
            "transformations": [
                {"inputAxes": [n], "outputAxes": [n], "type": "scale", "scale": [size]}
                for n, size in enumerate((2.0, 0.5, 0.25))
            ],
        },
        {"type": "bijection", "forward": SCALE, "inverse": SCALE},
        {"type": "sequence", "transformations": [{"type": "bijection", "forward": SCALE}]},
    ],
)
def test_linear_parts_are_an_affine(tmp_path, transform):
    assert open_source(new(tmp_path, [transform])).grid.spacing == SPACING


def test_parts_may_exchange_axes(tmp_path):
    swapped = [
        {"transformation": {"type": "identity"}, "inputAxes": [0], "outputAxes": [0]},
        {"transformation": {"type": "scale", "scale": [3.0]}, "inputAxes": [1], "outputAxes": [2]},
        {"transformation": MOVE | {"translation": [7.0]}, "inputAxes": [2], "outputAxes": [1]},
    ]
    source = open_source(new(tmp_path, [{"type": "byDimension", "transformations": swapped}]))
    expected = [[0, 3, 0, 0], [1, 0, 0, 7], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert np.array_equal(source.affine, expected)


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        (PARTS[:1], "BAD_METADATA"),
        ([PARTS[0], PARTS[0], PARTS[1]], "BAD_METADATA"),
        ([PARTS[0], PARTS[1] | {"inputAxes": [1, 3]}], "BAD_METADATA"),
        ([PARTS[0], PARTS[1] | {"inputAxes": ["y", "x"]}], "BAD_METADATA"),
        ([PARTS[0], PARTS[1] | {"inputAxes": [1]}], "UNSUPPORTED_TRANSFORM"),
        (
            [PARTS[0], PARTS[1] | {"transformation": {"type": "displacements", "path": "d"}}],
            "UNSUPPORTED_TRANSFORM",
        ),
        (7, "BAD_METADATA"),
        ([7], "BAD_METADATA"),
    ],
)
def test_parts_that_are_no_affine(tmp_path, parts, code):
    path = new(tmp_path, [{"type": "byDimension", "transformations": parts}])
    assert code_of(path) == code


# --- Coordinate systems -----------------------------------------------------------------------


def test_systems_of_label_maps_may_be_called_alike(tmp_path):
    """The specification's example multiscales_reference_to_label, and its reverse."""
    there = {"path": "labels/cells", "name": "own"}
    for n, (source, target) in enumerate([(there, {"name": "own"}), ({"name": "own"}, there)]):
        after = [{"type": "identity", "input": source, "output": target}]
        path = new(tmp_path / str(n), [SCALE], after)
        assert open_source(path).grid.spacing == SPACING


def test_a_path_may_be_null(tmp_path):
    after = [
        {
            "type": "scale",
            "scale": [2.0, 2.0, 2.0],
            "input": {"name": "own", "path": None},
            "output": {"name": "world", "path": None},
        }
    ]
    path = new(tmp_path, [SCALE], after, ("own", "world"))
    assert open_source(path).grid.spacing == (0.5, 1.0, 4.0)


def test_a_system_that_counts_voxels_is_not_the_world(tmp_path):
    """The specification's example of a unitless coordinate system."""
    after = [
        {
            "type": "scale",
            "scale": [0.5, 2.0, 4.0],
            "input": {"name": "own"},
            "output": {"name": "array"},
        }
    ]
    path = new(tmp_path, [SCALE], after, ("own", "array"), units={"array": None})
    with warnings.catch_warnings():
        warnings.simplefilter("error", VoxarrayWarning)
        assert open_source(path).grid.spacing == SPACING


# --- Versions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.6rc0", "0.6-dev", "0.6.dev3", "v0.6", "0.6.1", " 0.6 "])
def test_versions_before_and_after_a_release(tmp_path, version):
    assert open_source(new(tmp_path, [SCALE], version=version)).grid.spacing == SPACING


@pytest.mark.parametrize("version", ["latest", "6", "0.", "-1.0", [0, 5], {"a": 1}])
def test_versions_that_are_none(tmp_path, version):
    assert code_of(new(tmp_path, [SCALE], version=version), FormatError) == "BAD_METADATA"


def old(path, version, voxels, names=None):
    group = zarr.open_group(path, mode="w", zarr_format=2)
    array = group.create_array("0", shape=voxels.shape, dtype=voxels.dtype, chunks=voxels.shape)
    array[...] = voxels
    image = {"version": version, "datasets": [{"path": "0"}]}
    group.attrs["multiscales"] = [image | ({"axes": list(names)} if names else {})]
    return path


@pytest.mark.parametrize(
    ("version", "names", "sizes"),
    [
        ("0.1", None, (1, 2, 3, 4, 5)),
        ("0.2", None, (1, 2, 3, 4, 5)),
        ("0.3", "czyx", (2, 3, 4, 5)),
        ("0.3", "yx", (4, 5)),
    ],
)
def test_the_advice_for_old_versions_can_be_followed(tmp_path, version, names, sizes):
    path = old(tmp_path / "a.zarr", version, numbers(sizes), names)
    with pytest.raises(UnsupportedError, match=r"a\.zarr/0") as caught:
        open_source(path)
    assert caught.value.code == "OME_VERSION"
    with pytest.warns(VoxarrayWarning, match="nothing says where"):
        source = open_source(path / "0")
    found = source.read(Selection.whole(source.shape))
    expected = numbers(sizes).reshape((2, 3, 4, 5) if len(sizes) > 2 else (1, 1, 4, 5))
    assert np.array_equal(found, expected.transpose(0, 3, 2, 1))


# --- Several images ---------------------------------------------------------------------------


def two_images(path, *, same_level=False):
    images = [
        {"axes": axes("zyx"), "datasets": [{"coordinateTransformations": [SCALE], "path": "0"}]},
        {
            "axes": axes("zyx"),
            "datasets": [
                {
                    "coordinateTransformations": scaled([1.0, 1.0, 1.0]),
                    "path": "0" if same_level else "1",
                }
            ],
        },
    ]
    group = zarr.open_group(path, mode="w")
    for name in ("0", "1"):
        group.create_array(name, shape=VOXELS.shape, dtype="i2", chunks=VOXELS.shape)
    group.attrs["ome"] = {"version": "0.5", "multiscales": images}
    return path


def test_the_advice_for_several_images_can_be_followed(tmp_path):
    path = two_images(tmp_path / "a.zarr")
    with pytest.raises(UnsupportedError, match=r"a\.zarr/0") as caught:
        open_source(path)
    assert caught.value.code == "MULTIPLE_IMAGES"
    assert open_source(path / "0").grid.spacing == SPACING
    assert open_source(path / "1").grid.spacing == (1, 1, 1)


def test_an_array_of_two_images_that_differ(tmp_path):
    path = two_images(tmp_path / "a.zarr", same_level=True)
    assert code_of(path / "0", UnsupportedError) == "MULTIPLE_IMAGES"


def add(parent, name):
    group = parent.create_group(name)
    image = {
        "axes": axes("zyx"),
        "datasets": [{"coordinateTransformations": [SCALE], "path": "0"}],
        "version": "0.4",
    }
    array = group.create_array("0", shape=VOXELS.shape, dtype="i2", chunks=VOXELS.shape)
    array[...] = VOXELS
    group.attrs["multiscales"] = [image]


@pytest.mark.parametrize("is_listed", [True, False])
def test_series_of_bioformats2raw(tmp_path, is_listed):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    metadata = group.create_group("OME")
    add(group, "0")
    if is_listed:
        metadata.attrs["series"] = ["0"]
    assert open_source(tmp_path / "a.zarr").grid.spacing == SPACING
    add(group, "1")
    if is_listed:
        metadata.attrs["series"] = ["0", "1"]
    with pytest.raises(UnsupportedError, match=r"\['0', '1'\]") as caught:
        open_source(tmp_path / "a.zarr")
    assert caught.value.code == "MULTIPLE_IMAGES"
    assert open_source(tmp_path / "a.zarr/1").grid.spacing == SPACING


@pytest.mark.parametrize(("wells", "fields"), [(1, 1), (1, 2), (2, 1)])
def test_plates_and_wells_name_images_that_open(tmp_path, wells, fields):
    plate = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    paths = [f"A/{n + 1}" for n in range(wells)]
    plate.attrs["plate"] = {"wells": [{"path": path} for path in paths]}
    for path in paths:
        well = plate.create_group(path)
        well.attrs["well"] = {"images": [{"path": str(n)} for n in range(fields)]}
        for n in range(fields):
            add(well, str(n))
    for path, count in ((tmp_path / "a.zarr", wells * fields), (tmp_path / "a.zarr/A/1", fields)):
        if count == 1:
            assert open_source(path).grid.spacing == SPACING
            continue
        with pytest.raises(UnsupportedError) as caught:
            open_source(path)
        assert caught.value.code == "MULTIPLE_IMAGES"
        example = str(caught.value).split("for example ")[1].split(" ")[0]
        assert open_source(example).grid.spacing == SPACING


@pytest.mark.parametrize(
    "attributes", [{"plate": 3}, {"plate": {"wells": [3]}}, {"well": {"images": 3}}, {"well": {}}]
)
def test_collections_that_are_none(tmp_path, attributes):
    zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2).attrs.update(attributes)
    assert code_of(tmp_path / "a.zarr") == "BAD_METADATA"


def test_a_group_of_images_names_one(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    add(group, "brain")
    with pytest.raises(UnsupportedError, match=r"such as .*a\.zarr/brain") as caught:
        open_source(tmp_path / "a.zarr")
    assert caught.value.code == "NO_IMAGE"


# --- Axes and units ---------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["unit", "units"])
@pytest.mark.parametrize(
    ("unit", "mm"), [("micrometer", 1e-3), ("\u03bcm", 1e-3), ("\u00b5m", 1e-3), ("\u212b", 1e-7)]
)
def test_units_by_any_name(tmp_path, key, unit, mm):
    described = [{"name": name, "type": "space", key: unit} for name in "zyx"]
    image = {"axes": described, "datasets": [{"coordinateTransformations": [SCALE]}]}
    path = ome(tmp_path / "a.zarr", [VOXELS], image)
    with warnings.catch_warnings():
        warnings.simplefilter("error", VoxarrayWarning)
        spacing = open_source(path).grid.spacing
    np.testing.assert_allclose(spacing, np.multiply(SPACING, mm))


def test_an_axis_of_one_voxel_needs_no_name(tmp_path):
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(1, 4, 5), dtype="i2", dimension_names=[None, "y", "x"]
    )
    array[...] = numbers((1, 4, 5))
    with pytest.warns(VoxarrayWarning, match="nothing says where"):
        source = open_source(tmp_path / "a.zarr")
    assert source.shape == (1, 5, 4, 1)


@pytest.mark.parametrize("suffix", [".zarr.zip", ".ozx"])
def test_a_zip_with_a_top_folder_names_it(tmp_path, suffix):
    image = {"axes": axes("zyx"), "datasets": [{"coordinateTransformations": [SCALE]}]}
    folder = ome(tmp_path / "brain.zarr", [VOXELS], image)
    path = tmp_path / f"a{suffix}"
    with zipfile.ZipFile(path, "w") as file:
        for part in sorted(folder.rglob("*")):
            if part.is_file():
                file.write(part, part.relative_to(tmp_path))
    with pytest.raises(UnsupportedError) as caught:
        open_source(path)
    assert caught.value.code == "NO_NODE"
    example = str(caught.value).split("for example ")[1].split(" ")[0]
    assert open_source(example).grid.spacing == SPACING
