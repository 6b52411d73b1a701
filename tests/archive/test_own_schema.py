"""Archives are what the format's own schemas say, and the schemas refuse what no archive is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import zarr
from archive_samples import DTYPES, archive, blobs, voxels

import voxarray as vx
from voxarray.archive.documents import SCHEMAS, schema
from voxarray.archive.source import open_archive
from voxarray.archive.verify import verify
from voxarray.source.base import Channels


def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema(name))


def document(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes())


def validate(path: Path, images: tuple[str, ...] = ("",)) -> None:
    """Every document of an archive that has a schema."""
    validator("manifest").validate(document(path / "manifest.json"))
    for image in images:
        validator("image").validate(document(path / image / "zarr.json"))
        arrays = sorted((path / image).glob("scale*/image/zarr.json"))
        assert arrays
        for array in arrays:
            validator("array").validate(document(array))


def test_schemas_are_schemas():
    for name in SCHEMAS:
        jsonschema.Draft202012Validator.check_schema(schema(name))
    with pytest.raises(KeyError, match="choose one of array, image, manifest"):
        schema("../manifest")


@pytest.mark.parametrize("dtype", DTYPES)
def test_types(tmp_path, dtype):
    validate(archive(tmp_path / "a.ome.zarr", voxels((1, 5, 4, 3), dtype)))


def test_booleans(tmp_path):
    path = archive(tmp_path / "a.ome.zarr", np.ones((1, 5, 4, 3), bool))
    validate(path)
    assert document(path / "zarr.json")["attributes"]["voxarray"]["dtype"] == "bool"


@pytest.mark.parametrize("codec", [None, "raw", "labels", "training"])
@pytest.mark.parametrize("channels", [Channels(), Channels("time", 2.5), Channels("time", 0.0)])
def test_codecs_and_series(tmp_path, codec, channels):
    path = tmp_path / "a.ome.zarr"
    validate(archive(path, blobs((3, 9, 8, 10)), channels=channels, levels=2, codec=codec))


def test_label_maps_and_their_names(tmp_path):
    seg = blobs((1, 9, 8, 10), "u1")
    path = archive(tmp_path / "a.ome.zarr", blobs((1, 9, 8, 10)), labels={"seg": seg})
    validate(path, ("", "labels/seg"))


def test_scaling_and_history(tmp_path):
    import nibabel as nib

    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    image.header.set_slope_inter(0.3, -7)
    nib.save(image, tmp_path / "a.nii.gz")
    scan = vx.ScalarImage(tmp_path / "a.nii.gz")
    assert scan.dtype == np.float32  # scaled when it is read
    scan.save(tmp_path / "a.ome.zarr")
    validate(tmp_path / "a.ome.zarr")
    scan.set_data(scan.data * 2)
    scan.save(tmp_path / "b.ome.zarr")
    validate(tmp_path / "b.ome.zarr")
    facts = document(tmp_path / "b.ome.zarr" / "zarr.json")["attributes"]["voxarray"]
    assert [entry["operation"] for entry in facts["history"]][-2:] == ["set_data", "convert"]


@pytest.mark.parametrize(
    ("name", "file", "damage"),
    [
        ("image", "zarr.json", lambda d: d["attributes"]["voxarray"].pop("affine")),
        ("image", "zarr.json", lambda d: d["attributes"]["voxarray"]["affine"][3].reverse()),
        ("image", "zarr.json", lambda d: d["attributes"]["voxarray"].update(world="LPS+")),
        ("image", "zarr.json", lambda d: d["attributes"]["voxarray"].update(extra=1)),
        ("image", "zarr.json", lambda d: d["attributes"]["voxarray"]["history"][0].pop("version")),
        ("image", "zarr.json", lambda d: d["attributes"].update(zarr_conventions=[])),
        ("image", "zarr.json", lambda d: d["attributes"]["ome"]["multiscales"][0]["axes"].pop()),
        ("array", "scale0/image/zarr.json", lambda d: d.update(fill_value=1)),
        ("array", "scale0/image/zarr.json", lambda d: d["dimension_names"].reverse()),
        ("array", "scale0/image/zarr.json", lambda d: d["attributes"].update(scale_factor=2)),
        (
            "array",
            "scale0/image/zarr.json",
            lambda d: d["codecs"][0]["configuration"]["codecs"].pop(),
        ),
        ("manifest", "manifest.json", lambda d: d.pop("digest")),
        ("manifest", "manifest.json", lambda d: d.update(generation=1)),
        ("manifest", "manifest.json", lambda d: d.update(previous="0" * 32)),
        ("manifest", "manifest.json", lambda d: d["files"].pop("zarr.json")),
        ("manifest", "manifest.json", lambda d: d["files"].update({"../a": [1, "0" * 32]})),
        ("manifest", "manifest.json", lambda d: d["files"].update({"a": ["1", "0" * 32]})),
        ("manifest", "manifest.json", lambda d: d["source"].update(sha256="abc")),
    ],
)
def test_faults_are_found(tmp_path, name, file, damage):
    content = document(archive(tmp_path / "a.ome.zarr", blobs((1, 4, 4, 4))) / file)
    validator(name).validate(content)
    damage(content)
    with pytest.raises(jsonschema.ValidationError):
        validator(name).validate(content)


def test_documents_hold_nothing_that_no_reader_needs(tmp_path):
    path = archive(tmp_path / "a.ome.zarr", blobs((1, 40, 40, 40)), levels=2)
    assert len(list(path.glob("scale*"))) == 2
    voxels = {*path.glob("scale*/image/c/**/*")}
    files = [file for file in path.rglob("*") if file.is_file() and file not in voxels]
    assert sum(file.stat().st_size for file in files) < 7460
    for axis in path.glob("scale*/[xyz]/zarr.json"):
        assert document(axis)["attributes"].keys() == {"units", "step"}


@pytest.mark.parametrize("size", [79, 188, 190])
def test_positions_are_as_small_where_they_are_no_multiple_of_eight(tmp_path, size):
    """Of other numbers blosc leaves the bits as they are: then bytes are shuffled, or the chunk is
    longer than the axis.
    """
    affine = np.diag([2.9999998429916546, 1, 1, 1])
    affine[0, 3] = -74.02213873327821
    path = archive(tmp_path / "a.ome.zarr", blobs((1, size, 4, 4)), affine, levels=1)
    assert (path / "scale0/x/c.0").stat().st_size < 0.82 * 8 * size
    affine = open_archive(path).affine
    positions = zarr.open_array(path / "scale0/x", mode="r")[:]
    np.testing.assert_array_equal(positions, affine[0, 3] + affine[0, 0] * np.arange(size))


@pytest.mark.parametrize(
    ("size", "spacing", "is_compressed"), [(12, 2.0, False), (40, 0.7, False), (300, 0.7, True)]
)
def test_positions_are_compressed_where_that_saves_bytes(tmp_path, size, spacing, is_compressed):
    affine = np.diag([spacing, 1, 1, 1])
    affine[0, 3] = -74.02213873327821
    path = archive(tmp_path / "a.ome.zarr", blobs((1, size, 4, 4)), affine, levels=1)
    described = document(path / "scale0/x/zarr.json")
    named = [codec["name"] for codec in described["codecs"]]
    assert named == ["bytes", *(["blosc"] if is_compressed else []), "crc32c"]
    assert is_compressed or (path / "scale0/x/c.0").stat().st_size == 8 * size + 4
    positions = zarr.open_array(path / "scale0/x", mode="r")[:]
    np.testing.assert_array_equal(positions, affine[0, 3] + spacing * np.arange(size))
    assert verify(path) == []


def test_a_coordinate_without_voxels_says_nothing_of_chunks(tmp_path):
    path = archive(tmp_path / "a.ome.zarr", blobs((1, 4, 4, 4)), levels=1)
    content = document(path / "scale0/spatial_ref/zarr.json")
    assert content["codecs"] == [{"name": "bytes"}]
    assert content["chunk_key_encoding"] == {"name": "default"}
    assert zarr.open_array(path / "scale0/spatial_ref", mode="r")[()] == 0
