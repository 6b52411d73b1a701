"""Copies of one fact that were changed and sealed again are held against each other by `verify`."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import zarr
from archive_samples import (
    DTYPES,
    OBLIQUE,
    archive,
    blobs,
    reseal,
    same_bits,
    voxels,
    with_all_coordinates,
)
from archive_samples import whole as voxels_of

import voxarray as vx
from voxarray.archive.source import open_archive
from voxarray.archive.verify import examine, verify
from voxarray.core.errors import FormatError
from voxarray.source.base import Channels

LEVEL = "scale1"
IMAGE = "scale0/image/zarr.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """Files of an archive that has all that there may be: labels, counts, a pyramid, a header.

    Coarse levels have coordinates, as in early archives of version 2.
    """
    path = tmp_path_factory.mktemp("facts") / "a.ome.zarr"
    archive(path, blobs((2, 9, 8, 12)), OBLIQUE, labels={"seg": blobs((1, 9, 8, 12))}, chunk=4)
    with_all_coordinates(path)
    return {f.relative_to(path).as_posix(): f.read_bytes() for f in path.rglob("*") if f.is_file()}


@pytest.fixture
def path(whole, tmp_path) -> Path:
    for key, data in whole.items():
        (tmp_path / "a.ome.zarr" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a.ome.zarr" / key).write_bytes(data)
    return tmp_path / "a.ome.zarr"


def change(file: Path, *keys: Any, to: Any) -> None:
    document = json.loads(file.read_bytes())
    inner = document
    for key in keys[:-1]:
        inner = inner[key]
    old = inner[keys[-1]]
    inner[keys[-1]] = to(old) if callable(to) else to
    assert inner[keys[-1]] != old
    file.write_text(json.dumps(document, indent=1))


def rewritten(file: Path, change: Any, dtype: str) -> None:
    """Change the numbers of a small array, whose crc32c is made anew."""
    values = np.frombuffer(file.read_bytes()[:-4], dtype).copy()
    change(values)
    body = values.tobytes()
    file.write_bytes(body + google_crc32c.value(body).to_bytes(4, "little"))


def moved(file: Path, change: Any) -> None:
    """Change the positions along an axis, which are compressed and have a crc32c."""
    compressed_anew(file.parent, change)


def compressed_anew(folder: Path, change: Any) -> None:
    """Change the numbers of a small array by zarr-python, which compresses them."""
    array = zarr.open_array(folder, mode="r+")
    values = array[:]
    change(values)
    array[:] = values


def found(path: Path) -> list[tuple[str, str]]:
    reseal(path)
    return [(problem.code, problem.where) for problem in verify(path)]


MULTISCALE = ("attributes", "ome", "multiscales", 0)


@pytest.mark.parametrize(
    ("key", "keys", "to"),
    [
        ("zarr.json", (*MULTISCALE, "axes", 1, "name"), "w"),
        ("zarr.json", (*MULTISCALE, "axes", 1, "unit"), "micrometer"),
        ("zarr.json", (*MULTISCALE, "axes", 1, "orientation", "value"), "left-to-right"),
        (
            "zarr.json",
            (*MULTISCALE, "datasets", 0, "coordinateTransformations", 0, "scale", 2),
            lambda mm: mm * 1.01,
        ),
        (
            "zarr.json",
            (*MULTISCALE, "datasets", 1, "coordinateTransformations", 1, "translation", 3),
            lambda mm: mm + 0.01,
        ),
        ("zarr.json", (*MULTISCALE, "datasets", 1, "path"), "scale0/image"),
        ("zarr.json", ("attributes", "voxarray", "affine", 0, 3), lambda mm: mm + 1),
        ("zarr.json", ("attributes", "voxarray", "affine", 1, 1), lambda mm: mm * 1.01),
        ("zarr.json", ("attributes", "voxarray", "dtype"), "int32"),
        ("zarr.json", ("attributes", "voxarray", "scaling"), {"slope": 2.0, "intercept": 0.0}),
        (IMAGE, ("dimension_names",), ["t", "z", "y", "x"]),
        (IMAGE, ("dimension_names",), ["c", "x", "y", "z"]),
        (f"{LEVEL}/image/zarr.json", ("dimension_names",), None),
        (IMAGE, ("attributes",), {"coordinates": "spatial_ref", "scale_factor": 2.0}),
        (f"{LEVEL}/image/zarr.json", ("data_type",), "uint16"),
        ("scale0/x/zarr.json", ("attributes", "step"), lambda mm: -mm),
        (f"{LEVEL}/z/zarr.json", ("attributes", "step"), None),
        ("scale0/spatial_ref/zarr.json", ("attributes", "world"), "LPS+"),
        ("scale0/spatial_ref/zarr.json", ("attributes", "intrinsic_to_world", 0), 0.5),
        ("scale0/spatial_ref/zarr.json", ("attributes",), {}),
        ("labels/zarr.json", ("attributes", "ome", "labels"), []),
        ("labels/zarr.json", ("attributes", "ome", "labels"), ["seg", "more"]),
        ("labels/seg/zarr.json", ("attributes", "voxarray", "affine", 0, 3), lambda mm: mm + 1),
        ("labels/seg/zarr.json", ("attributes", "voxarray", "kind"), "intensity"),
        ("labels/seg/label_counts/zarr.json", ("attributes", "cell"), [4, 4, 2]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_copy_in_a_document_that_was_changed_is_named(path, key, keys, to):
    change(path / key, *keys, to=to)
    problems = found(path)
    assert {code for code, _ in problems} == {"CONTRADICTION"}


def _later(values: np.ndarray) -> None:
    values += 0.5


def _one_more(values: np.ndarray) -> None:
    values[-1] += 1


@pytest.mark.parametrize(
    ("key", "how"),
    [
        *((f"scale0/{axis}/c.0", _later) for axis in "xyz"),
        (f"{LEVEL}/y/c.0", _one_more),
        ("labels/seg/scale0/x/c.0", _one_more),
    ],
)
def test_positions_that_were_changed_are_named(path, key, how):
    moved(path / key, how)
    assert found(path) == [("CONTRADICTION", key)]


@pytest.mark.parametrize("data", [b"", b"12", bytes(16), bytes(100)])
def test_positions_that_cannot_be_decoded_are_named(path, data):
    (path / "scale0/x/c.0").write_bytes(data + google_crc32c.value(data).to_bytes(4, "little"))
    assert found(path) == [("CONTRADICTION", "scale0/x/c.0")]


@pytest.mark.parametrize("data", [b"", b"12", bytes(16), bytes(100), bytes(8 * 64)])
def test_compressed_positions_that_cannot_be_decoded_are_named(tmp_path, data):
    path = archive(tmp_path / "a.ome.zarr", blobs((1, 64, 4, 4)), np.diag([2.0, 1, 1, 1]))
    assert "blosc" in (path / "scale0/x/zarr.json").read_text()
    (path / "scale0/x/c.0").write_bytes(data + google_crc32c.value(data).to_bytes(4, "little"))
    assert found(path) == [("CONTRADICTION", "scale0/x/c.0")]


_ENDLESS = {"cname": "zstd", "clevel": math.inf, "shuffle": "shuffle"}


@pytest.mark.parametrize(
    "to",
    [
        [],
        None,
        "none",
        [{}],
        [{"name": "gzip"}],
        [{"name": "blosc"}],
        [{"name": "bytes"}, {"name": "blosc", "configuration": _ENDLESS}, {"name": "crc32c"}],
    ],
)
def test_positions_of_other_codecs_than_the_document_says_are_named(path, to):
    change(path / "scale0/x/zarr.json", "codecs", to=to)
    assert found(path) == [("CONTRADICTION", "scale0/x/c.0")]


@pytest.mark.parametrize(
    ("keys", "to"),
    [
        (("shape",), [4]),
        (("data_type",), "int64"),
        (("chunk_grid", "configuration", "chunk_shape"), [3]),
        (("chunk_key_encoding", "configuration", "separator"), "/"),
        (("dimension_names",), ["y"]),
        (("attributes", "units"), "m"),
    ],
)
def test_a_document_by_which_other_readers_find_other_positions_is_named(path, keys, to):
    change(path / "scale0/x/zarr.json", *keys, to=to)
    assert found(path) == [("CONTRADICTION", "scale0/x/zarr.json")]


def test_uncompressed_positions_of_version_1_are_accepted(path):
    """Uncompressed and in a folder, as in archives of version 1."""
    values = zarr.open_array(path / "scale0/x", mode="r")[:]
    (path / "scale0/x/c.0").unlink()
    document = json.loads((path / "scale0/x/zarr.json").read_bytes())
    document["codecs"] = [document["codecs"][0], {"name": "crc32c"}]
    document["chunk_key_encoding"]["configuration"]["separator"] = "/"
    (path / "scale0/x/zarr.json").write_text(json.dumps(document))
    zarr.open_array(path / "scale0/x", mode="r+")[:] = values
    assert found(path) == []
    zarr.open_array(path / "scale0/x", mode="r+")[:] = values + 1
    assert found(path) == [("CONTRADICTION", "scale0/x/c/0")]


def test_counts_that_were_changed_are_named(path):
    key = "labels/seg/label_counts/c/0/0"
    rewritten(path / key, _one_more, "<i8")
    assert found(path) == [("CONTRADICTION", key)]


@pytest.mark.parametrize("size", [0, 3, 7])
def test_a_table_of_no_whole_rows_is_refused_by_name(path, size):
    file = path / "labels/seg/label_counts/c/0/0"
    file.write_bytes(file.read_bytes()[: -4 - size] if size else b"12")
    reseal(path)
    with pytest.raises(FormatError) as caught:
        _ = open_archive(path / "labels/seg").label_counts
    assert caught.value.code == "BAD_CHUNK_SIZE"


@pytest.mark.parametrize(
    ("offset", "number"),
    [(280 + 12, np.float32(7)), (42, np.int16(8)), (70, np.int16(8))],
    ids=["sform", "dim", "datatype"],
)
def test_a_header_of_nifti_that_says_otherwise_is_named(path, offset, number):
    key = "nifti/c/0"

    def put(values: np.ndarray) -> None:
        values[offset : offset + number.nbytes] = np.frombuffer(number.tobytes(), np.uint8)

    compressed_anew(path / "nifti", put)
    assert found(path) == [("CONTRADICTION", key)]


def test_files_of_another_archive_that_were_sealed_again_are_named(path, tmp_path):
    """Whatever says where the voxels are cannot come from another archive, not even sealed."""
    other = tmp_path / "b.ome.zarr"
    archive(
        other,
        blobs((2, 9, 8, 12), seed=1),
        OBLIQUE + np.diag([0.25, 0, 0, 0]),
        labels={"seg": blobs((1, 9, 8, 12), seed=1)},
        chunk=4,
    )
    with_all_coordinates(other)
    same = {"zarr.json", "nifti/c/0", "scale0/x/c.0", "scale1/x/c.0"}
    same |= {"labels/seg/zarr.json", "labels/seg/nifti/c/0", "scale0/spatial_ref/zarr.json"}
    for key in sorted(same):
        before = (path / key).read_bytes()
        assert before != (other / key).read_bytes()
        (path / key).write_bytes((other / key).read_bytes())
        assert "CONTRADICTION" in {code for code, _ in found(path)}, key
        (path / key).write_bytes(before)
    assert found(path) == []


def test_chunks_of_another_shape_are_named(path):
    """As many in a shard, as large each: every chunk decodes, into another place."""
    for level in ("scale0", "labels/seg/scale0"):
        file = path / level / "image/zarr.json"
        before = file.read_bytes()
        change(file, "codecs", 0, "configuration", "chunk_shape", to=lambda c: [c[0], 2, 4, 8])
        assert found(path) != []
        file.write_bytes(before)
    assert found(path) == []


@pytest.mark.parametrize("dtype", DTYPES)
def test_verify_finds_no_contradiction_for_any_dtype(tmp_path, dtype):
    path = archive(tmp_path / "a.ome.zarr", voxels((2, 9, 5, 7), dtype), OBLIQUE, levels=2)
    assert verify(path) == []


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ozx"])
@pytest.mark.parametrize("spacing", [(1e-3, 2e-3, 1e-3), (0.7, 0.7, 300), (1e4, 1e4, 1e4)])
def test_verify_finds_no_contradiction_for_any_spacing(tmp_path, spacing, suffix):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = 1234.5, -0.25, 1e5
    path = tmp_path / f"a{suffix}"
    archive(path, blobs((3, 9, 5, 7)), affine, channels=Channels("time", 2.5), levels=2)
    assert verify(path) == []


_FAR = np.diag([5.7, 0.11, -5.4, 1])
_FAR[:3, 3] = 40364.427353, -6546.322465, 7275.569347
_STAGE = np.diag([1e-4, 1e-4, 1e-3, 1])
_STAGE[:3, 3] = 41.123456, 77.654321, -3.3333333
_NEARLY_PARALLEL = np.diag([1.3, 1, 1, 1])
_NEARLY_PARALLEL[0, 1], _NEARLY_PARALLEL[1, 3] = 123456.789, 7.7


@pytest.mark.parametrize("affine", [_FAR, _STAGE, _NEARLY_PARALLEL])
def test_verify_finds_no_contradiction_in_what_nifti_rounds(tmp_path, affine):
    """The header has single precision; the archive was said to be damaged when it was made."""
    path = archive(tmp_path / "a.ome.zarr", blobs((1, 9, 8, 12)), affine, chunk=4)
    assert verify(path) == []

    def nudge(values: np.ndarray) -> None:
        values[280 : 280 + 48].view("<f4")[7] *= np.float32(1.0001)  # the position along A

    compressed_anew(path / "nifti", nudge)
    assert found(path) == [("CONTRADICTION", "nifti/c/0")]


@pytest.mark.parametrize(("slope", "intercept"), [(2, -1024), (0.3, -7), (1, 0)])
def test_verify_finds_no_contradiction_in_scaled_integers(tmp_path, slope, intercept):
    import nibabel as nib

    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), OBLIQUE)
    image.header.set_slope_inter(slope, intercept)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "a.nii.gz")
    vx.ScalarImage(tmp_path / "a.nii.gz").save(tmp_path / "a.ome.zarr")
    assert verify(tmp_path / "a.ome.zarr") == []


def test_verify_finds_no_contradiction_in_boolean_or_flat_images(tmp_path):
    array = blobs((1, 9, 5, 1)) > 2
    assert verify(archive(tmp_path / "a.ome.zarr", array)) == []


@pytest.fixture
def today(tmp_path) -> Path:
    """An archive as it is written today: only base levels have coordinates."""
    path = tmp_path / "today.ome.zarr"
    archive(path, blobs((2, 9, 8, 12)), OBLIQUE, labels={"seg": blobs((1, 9, 8, 12))}, chunk=4)
    return path


COORDINATES = ["spatial_ref", "x", "y", "z"]


def test_only_base_levels_have_coordinates(today, path):
    for image in ("", "labels/seg/"):
        for level in ("scale0", LEVEL):
            written = sorted(file.name for file in (today / image / level).iterdir())
            others = COORDINATES if level == "scale0" else []
            assert written == sorted(["image", "zarr.json", *others])
            before = sorted(file.name for file in (path / image / level).iterdir())
            assert before == sorted(["image", "zarr.json", *COORDINATES])


@pytest.mark.parametrize("image", ["", "labels/seg/"])
@pytest.mark.parametrize("level", ["scale0", LEVEL])
@pytest.mark.parametrize("lost", [*((name,) for name in COORDINATES), ("x", "y", "z")])
def test_a_level_that_lacks_some_coordinates_is_named(path, image, level, lost):
    for name in lost:
        shutil.rmtree(path / image / level / name)
    assert found(path) == [("CONTRADICTION", f"{image}{level}/zarr.json")]


@pytest.mark.parametrize("image", ["", "labels/seg/"])
def test_a_base_level_without_coordinates_is_named(today, image):
    for name in COORDINATES:
        shutil.rmtree(today / image / "scale0" / name)
    assert found(today) == [("CONTRADICTION", f"{image}scale0/zarr.json")]


@pytest.mark.parametrize("image", ["", "labels/seg/"])
@pytest.mark.parametrize("name", COORDINATES)
def test_a_single_coordinate_of_a_coarse_level_is_named(today, image, name):
    shutil.copytree(today / image / "scale0" / name, today / image / LEVEL / name)
    assert found(today) == [("CONTRADICTION", f"{image}{LEVEL}/zarr.json")]


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"coordinates": "spatial_ref"},
        {"coordinates": "spatial_ref", "positions": "../../zarr.json"},
        {"positions": "zarr.json"},
    ],
)
def test_a_level_without_coordinates_says_what_places_it(today, attributes):
    assert found(today) == []
    change(today / LEVEL / "image/zarr.json", "attributes", to=attributes)
    assert found(today) == [("CONTRADICTION", f"{LEVEL}/image/zarr.json")]


@pytest.mark.parametrize("image", ["", "labels/seg/"])
@pytest.mark.parametrize("level", ["scale0", LEVEL])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"coordinates": "x y z"},
        {"positions": "../../zarr.json"},
        {"coordinates": "spatial_ref", "positions": "../../zarr.json"},
    ],
)
def test_a_level_with_coordinates_says_that_it_has_them(path, image, level, attributes):
    """Without it, xarray leaves the directions of the axes out."""
    key = f"{image}{level}/image/zarr.json"
    change(path / key, "attributes", to=attributes)
    assert found(path) == [("CONTRADICTION", key)]


def test_archives_of_both_kinds_are_the_same_images(today, path):
    for image in ("", "labels/seg"):
        old, new = open_archive(path / image), open_archive(today / image)
        assert old.levels == new.levels > 1
        for number in range(old.levels):
            one, other = old.level(number), new.level(number)
            np.testing.assert_array_equal(one.affine, other.affine)
            assert same_bits(voxels_of(one), voxels_of(other))
    assert verify(path) == verify(today) == []


def test_there_is_no_note_of_an_archive_of_today(path):
    assert examine(path).notes == []
