"""How large the voxels of a TIFF are, by everything that states it; files of one OME-TIFF."""

from __future__ import annotations

import os
import uuid
import warnings

import numpy as np
import pytest
import tifffile

from header_samples import everything, numbers, opened
from voxarray.cohort.discover.files import images
from voxarray.cohort.plan.fingerprint import InputFingerprint
from voxarray.core.errors import FormatError, MissingFileError, SourceChangedError, VoxarrayWarning
from voxarray.formats.registry import open_source
from voxarray.source.base import Channels

STACK = numbers((3, 6, 7), "u2")

UNITS = {
    "um": 1e-3,
    "\u00b5m": 1e-3,
    "\u03bcm": 1e-3,
    "nm": 1e-6,
    "\u00c5": 1e-7,
    "\u212b": 1e-7,
    "mm": 1.0,
    "cm": 10.0,
    "m": 1e3,
    "in": 25.4,
    None: 1e-3,
}


def physical(unit=None, sizes=(0.5, 0.25, 2.0)):
    said = {f"PhysicalSize{axis}": size for axis, size in zip("XYZ", sizes, strict=True)}
    return said | ({f"PhysicalSize{axis}Unit": unit for axis in "XYZ"} if unit else {})


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"bigtiff": True}])
def test_ome_tiff_states_its_voxels_in_any_unit(tmp_path, unit, planes, options):
    array, axes = (STACK[0], "YX") if planes == 1 else (STACK, "ZYX")
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, array, ome=True, metadata={"axes": axes, **physical(unit)}, **options)
    source, remarks = opened(path)
    np.testing.assert_allclose(source.grid.spacing, np.multiply((0.5, 0.25, 2.0), UNITS[unit]))
    assert remarks == []


@pytest.mark.parametrize(("unit", "step"), [("s", 1.5), ("ms", 1.5e-3), ("min", 90), (None, 1.5)])
def test_ome_tiff_states_its_time_step(tmp_path, unit, step):
    said = {"axes": "TYX", "TimeIncrement": 1.5} | ({"TimeIncrementUnit": unit} if unit else {})
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, ome=True, metadata=said)
    assert opened(tmp_path / "a.ome.tif")[0].channels == Channels("time", step)


@pytest.mark.parametrize(
    "said",
    [
        physical("pixel"),
        physical("reference frame"),
        physical("um", (0, -1, float("nan"))),
        physical("um", ("wide", 1e999, "")),
    ],
)
def test_ome_tiff_whose_sizes_are_no_lengths_is_remarked(tmp_path, said):
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, ome=True, metadata={"axes": "ZYX", **said})
    source, remarks = opened(tmp_path / "a.ome.tif")
    assert source.grid.spacing == (1, 1, 1)
    assert remarks.count("BAD_SPACING") == 3
    assert "NO_SLICE_SPACING" in remarks


def test_an_incomplete_ome_spacing_is_completed_from_the_tags(tmp_path):
    said = {"axes": "ZYX", "PhysicalSizeZ": 2, "PhysicalSizeZUnit": "mm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, ome=True, metadata=said)
    source, remarks = opened(tmp_path / "a.ome.tif")
    assert source.grid.spacing == (1, 1, 2)
    assert remarks == ["SPACING_NOT_READ"]
    resolution = {"resolution": (20, 40), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, ome=True, metadata=said, **resolution)
    source, remarks = opened(tmp_path / "a.ome.tif")
    np.testing.assert_allclose(source.grid.spacing, (0.5, 0.25, 2))
    assert remarks == []


@pytest.mark.parametrize(("unit", "mm"), [(2, 25.4), (3, 10), (4, 1), (5, 1e-3)])
def test_every_unit_of_resolution(tmp_path, unit, mm):
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], resolution=(2, 4), resolutionunit=unit)
    source, remarks = opened(tmp_path / "a.tif")
    np.testing.assert_allclose(source.grid.spacing, (mm / 2, mm / 4, 1))
    assert remarks == []


@pytest.mark.parametrize("unit", ["um", "\\u00B5m", "micron", "mm", "inch"])
def test_imagej_counts_in_its_own_unit(tmp_path, unit):
    factor = {"mm": 1, "inch": 25.4}.get(unit, 1e-3)
    said = {"axes": "ZYX", "spacing": 3.0, "unit": unit}
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata=said, resolution=(2, 4))
    source, remarks = opened(tmp_path / "a.tif")
    np.testing.assert_allclose(source.grid.spacing, np.multiply((0.5, 0.25, 3), factor))
    assert remarks == []


def test_imagej_frames_have_an_interval(tmp_path):
    said = {"axes": "TYX", "finterval": 2.5, "unit": "um"}
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata=said, resolution=(2, 4))
    assert opened(tmp_path / "a.tif")[0].channels == Channels("time", 2.5)


def test_a_kind_of_tiff_that_may_say_more_is_named(tmp_path):
    scale = (33550, "d", 3, (30.0, 30.0, 0.0), True)
    tie = (33922, "d", 6, (0.0, 0.0, 0.0, 1.0, 2.0, 0.0), True)
    keys = (34735, "H", 4, (1, 1, 0, 0), True)
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], extratags=[scale, tie, keys])
    with pytest.warns(VoxarrayWarning, match=r"SPACING_NOT_READ.*geotiff"):
        open_source(tmp_path / "a.tif")


# --- Several files ----------------------------------------------------------------------------

NAMES = ("p0.ome.tif", "p1.ome.tif", "p2.ome.tif")


def document(own, names, *, binary_only=None):
    head = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        f'UUID="urn:uuid:{uuid.uuid5(uuid.NAMESPACE_DNS, own)}">'
    )
    if binary_only:
        return f'{head}<BinaryOnly MetadataFile="{binary_only}" UUID="urn:uuid:0"/></OME>'
    parts = "".join(
        f'<TiffData FirstC="0" FirstT="0" FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName='
        f'"{name}">urn:uuid:{uuid.uuid5(uuid.NAMESPACE_DNS, name.split("/")[-1])}</UUID></TiffData>'
        for z, name in enumerate(names)
    )
    return (
        f'{head}<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
        'SizeX="7" SizeY="6" SizeZ="3" SizeC="1" SizeT="1" PhysicalSizeX="2" PhysicalSizeY="3" '
        'PhysicalSizeZ="4"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
        f"{parts}</Pixels></Image></OME>"
    )


def write_set(folder, planes=STACK, names=NAMES, **options):
    folder.mkdir(exist_ok=True)
    for name, plane in zip(NAMES, planes, strict=True):
        binary_only = options.get("binary_only") if name != NAMES[0] else None
        tifffile.imwrite(
            folder / name,
            plane,
            description=document(name, names, binary_only=binary_only),
            metadata=None,
            photometric="minisblack",
            compression=options.get("compression"),
        )
    return folder


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_each_file_opens_the_image_of_the_set(tmp_path, name, compression):
    write_set(tmp_path / "a", compression=compression)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source, remarks = opened(tmp_path / "a" / name)
        found = everything(source)
    assert np.array_equal(found[0], STACK.T)
    np.testing.assert_allclose(source.grid.spacing, (2e-3, 3e-3, 4e-3))
    assert remarks == []
    assert source.bytes_on_disk == sum(os.path.getsize(tmp_path / "a" / n) for n in NAMES)


@pytest.mark.parametrize("named", NAMES)
@pytest.mark.parametrize("changed", NAMES)
@pytest.mark.parametrize("how", ["replace", "delete", "truncate", "touch"])
@pytest.mark.parametrize("is_warm", [False, True])
def test_a_change_of_any_file_of_the_set_is_seen(tmp_path, named, changed, how, is_warm):
    write_set(tmp_path / "a")
    write_set(tmp_path / "b", STACK + 1)
    source, _ = opened(tmp_path / "a" / named)
    token, stamp = source.token(), InputFingerprint.of(str(tmp_path / "a" / named))
    if is_warm:
        everything(source)
    victim = tmp_path / "a" / changed
    if how == "replace":
        os.replace(tmp_path / "b" / changed, victim)
    elif how == "delete":
        victim.unlink()
    elif how == "truncate":
        os.truncate(victim, 300)
    else:
        os.utime(victim, ns=(1, 1))
    with pytest.raises(SourceChangedError):
        everything(source)
    if how in ("replace", "touch"):
        assert opened(tmp_path / "a" / named)[0].token() != token
        assert InputFingerprint.of(str(tmp_path / "a" / named)) != stamp


@pytest.mark.parametrize("binary_only", [None, NAMES[0]])
def test_a_set_is_found_once(tmp_path, binary_only):
    write_set(tmp_path / "a", binary_only=binary_only)
    tifffile.imwrite(tmp_path / "a" / "single.ome.tif", STACK, ome=True)
    tifffile.imwrite(tmp_path / "a" / "plain.tif", STACK)
    found = [path.name for path in images(str(tmp_path / "a"))]
    assert found == ["p0.ome.tif", "plain.tif", "single.ome.tif"]


def test_a_renamed_file_is_still_of_its_set(tmp_path):
    write_set(tmp_path / "a")
    os.rename(tmp_path / "a" / NAMES[0], tmp_path / "a" / "other.ome.tif")
    source, _ = opened(tmp_path / "a" / "other.ome.tif")
    assert np.array_equal(everything(source)[0], STACK.T)


def test_a_file_of_planes_says_where_the_rest_is_described(tmp_path):
    write_set(tmp_path / "a", binary_only=NAMES[0])
    source, remarks = opened(tmp_path / "a" / NAMES[1])
    assert source.shape == (1, 7, 6, 1)
    assert "PART_OF_IMAGE" in remarks


def test_a_set_that_lacks_a_file(tmp_path):
    write_set(tmp_path / "a")
    (tmp_path / "a" / NAMES[1]).unlink()
    with pytest.raises(MissingFileError, match=NAMES[1]):
        open_source(tmp_path / "a" / NAMES[0])


def test_a_set_may_not_lead_out_of_its_folder(tmp_path):
    write_set(tmp_path / "b")
    write_set(tmp_path / "a", names=(NAMES[0], f"../b/{NAMES[1]}", NAMES[2]))
    with pytest.raises(FormatError) as caught:
        open_source(tmp_path / "a" / NAMES[0])
    assert caught.value.code == "OUTSIDE_ROOT"
    assert [path.name for path in images(str(tmp_path / "a"))]


def test_entities_are_refused(tmp_path):
    text = '<!DOCTYPE OME [<!ENTITY a "aaaa">]>' + document(NAMES[0], NAMES[:1])
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, description=text, metadata=None)
    with pytest.raises(FormatError) as caught:
        open_source(tmp_path / "a.ome.tif")
    assert caught.value.code == "BAD_HEADER"
    assert [path.name for path in images(str(tmp_path))] == ["a.ome.tif"]


def test_strip_that_would_inflate_to_much_more_than_its_pixels_is_a_bomb(tmp_path):
    import zlib

    from voxarray.core.errors import FormatError
    from voxarray.formats.registry import open_source
    from voxarray.geometry.selection import Selection

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((64, 64), "u1"), compression="zlib", rowsperstrip=64)
    with tifffile.TiffFile(path, mode="r+b") as file:
        tags = file.pages[0].tags
        bomb = zlib.compress(bytes(64 << 20), 9)
        end = path.stat().st_size
        tags["StripOffsets"].overwrite([end])
        tags["StripByteCounts"].overwrite([len(bomb)])
    with path.open("ab") as out:
        out.write(bomb)
    source = open_source(path)
    with pytest.raises(FormatError) as caught:
        source.read(Selection.whole(source.shape))
    assert caught.value.code == "BOMB"


def test_one_strip_beyond_the_budget_is_refused_by_name(tmp_path):
    import dask.config

    import voxarray as vx

    options = {"compression": "zlib", "rowsperstrip": 2000}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2000, 2000), "u1"), **options)
    image = vx.ScalarImage(tmp_path / "a.tif")
    with (
        dask.config.set({"voxarray.memory-budget": "4 MiB"}),
        pytest.raises(vx.MemoryBudgetError, match=r"a\.tif"),
    ):
        image.array[0, :4, :4, 0].compute()
