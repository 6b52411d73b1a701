"""The metadata of an archive is OME-Zarr 0.5, by the schemas of the specification."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from archive_samples import OBLIQUE, archive, blobs
from referencing import Registry, Resource

from voxarray.archive.metadata import Label
from voxarray.source.base import Channels

SCHEMAS = Path(__file__).parent / "schemas"


def validator(name: str) -> jsonschema.Draft202012Validator:
    documents = [json.loads(file.read_text()) for file in sorted(SCHEMAS.glob("*.schema"))]
    registry = Registry().with_resources(
        (document["$id"], Resource.from_contents(document)) for document in documents
    )
    schema = json.loads((SCHEMAS / f"{name}.schema").read_text())
    return jsonschema.Draft202012Validator(schema, registry=registry)


def attributes(path: Path) -> dict[str, Any]:
    return json.loads((path / "zarr.json").read_bytes())["attributes"]


@pytest.mark.parametrize("channels", [Channels(), Channels("time", 2.5), Channels("time", 0.0)])
@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("kind", ["intensity", "label"])
def test_images_are_valid(tmp_path, channels, levels, kind):
    path = archive(
        tmp_path / "a.ome.zarr",
        blobs((3, 9, 8, 10)),
        channels=channels,
        kind=kind,
        levels=levels,
    )
    validator("image").validate(attributes(path))
    if kind == "label":
        validator("label").validate(attributes(path))


def test_label_maps_are_valid(tmp_path):
    seg = blobs((1, 9, 8, 10), "u1")
    path = archive(tmp_path / "a.ome.zarr", blobs((1, 9, 8, 10)), labels={"seg": seg})
    label = attributes(path / "labels/seg")
    validator("image").validate(label)
    validator("label").validate(label)
    assert label["ome"]["image-label"]["source"] == {"image": "../../"}
    assert attributes(path / "labels")["ome"] == {"version": "0.5", "labels": ["seg"]}


def test_names_and_colours_are_where_the_specification_has_them(tmp_path):
    table = (Label(1, "left"), Label(2, "right", (0, 128, 255, 255)), Label(7, "", (1, 2, 3, 4)))
    path = archive(tmp_path / "a.ome.zarr", blobs((1, 4, 4, 4)), kind="label", table=table)
    validator("label").validate(attributes(path))
    label = attributes(path)["ome"]["image-label"]
    assert label["properties"] == [
        {"label-value": 1, "name": "left"},
        {"label-value": 2, "name": "right"},
    ]
    assert [entry["label-value"] for entry in label["colors"]] == [2, 7]


def test_the_schema_finds_faults(tmp_path):
    facts = attributes(archive(tmp_path / "a.ome.zarr", blobs((1, 4, 4, 4))))
    del facts["ome"]["multiscales"][0]["datasets"]
    with pytest.raises(jsonschema.ValidationError, match="datasets"):
        validator("image").validate(facts)


def test_axes_name_directions_of_the_patient(tmp_path):
    path = archive(tmp_path / "a.ome.zarr", blobs((1, 4, 4, 4)))  # OBLIQUE is nearest to LAS
    axes = attributes(path)["ome"]["multiscales"][0]["axes"]
    assert [axis["name"] for axis in axes] == ["c", "z", "y", "x"]
    assert [axis["orientation"]["value"] for axis in axes[1:]] == [
        "inferior-to-superior",
        "posterior-to-anterior",
        "right-to-left",
    ]


def test_our_keys_hold_the_affine_to_the_bit(tmp_path):
    path = archive(tmp_path / "a.ome.zarr", blobs((1, 4, 4, 4)))
    ours = attributes(path)["voxarray"]
    assert np.array_equal(ours["affine"], OBLIQUE)
    assert (ours["world"], ours["unit"]) == ("RAS+", "millimeter")
