"""Stores and documents of the OME-NGFF specification, below ``VOXARRAY_NGFF``.

What opens holds the numbers that zarr-python reads. What does not is refused by name: by us, that
the specification calls it valid or not, for some of it describes no image, or no affine.
"""

from __future__ import annotations

import json
import os
import warnings

import numpy as np
import pytest
import zarr
from foreign import VERDICTS, parameters, roots

import voxarray as vx

VARIABLE = "VOXARRAY_NGFF"


def stores():
    found = []
    for root in roots(VARIABLE):
        for folder, inner, names in os.walk(root):
            if {"zarr.json", ".zattrs"} & set(names) and folder.endswith(".zarr"):
                found.append(root / folder)
                inner.clear()
    return sorted(found)


def documents():
    """JSON documents with attributes of images."""
    found = []
    for root in roots(VARIABLE):
        for path in sorted(root.rglob("*.json")):
            is_store = any(parent.suffix == ".zarr" for parent in path.parents)
            if not is_store and _multiscales(_parsed(path)):
                found.append(path)
    return found


def _parsed(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _multiscales(document):
    """The first image that a document describes, wherever it nests it."""
    if isinstance(document, dict):
        listed = document.get("multiscales")
        if isinstance(listed, list) and listed and isinstance(listed[0], dict):
            return listed[0]
        return next(filter(None, map(_multiscales, document.values())), None)
    return None


def _is_valid(path):
    return "invalid" not in path.as_posix()


def opened(path):
    """An image, or the error by name; anything else is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = vx.ScalarImage(path)
            return image, image.numpy()
        except vx.VoxarrayError as error:
            return error, None


def count(path, kind, result):
    outcome = result.code if isinstance(result, vx.VoxarrayError) else "opens"
    VERDICTS[f"{'valid' if _is_valid(path) else 'invalid'} {kind}: {outcome}"] += 1


@pytest.mark.parametrize("path", parameters(VARIABLE, stores()))
def test_stores_hold_what_zarr_reads(path):
    result, voxels = opened(path)
    count(path, "store", result)
    if voxels is None:
        return
    group = zarr.open_group(path, mode="r")
    first = _multiscales(dict(group.attrs))
    stored = np.asarray(group[first["datasets"][0]["path"]])
    np.testing.assert_array_equal(np.sort(voxels, None), np.sort(stored, None))


@pytest.mark.parametrize("path", parameters(VARIABLE, documents()))
def test_documents_are_opened_or_refused_by_name(path, tmp_path):
    """Each with arrays made for it, of as many axes as it names."""
    document = _parsed(path)
    attributes = document.get("attributes", document)
    multiscale = _multiscales(attributes)
    systems = multiscale.get("coordinateSystems")
    axes = multiscale.get("axes") or (systems[0].get("axes") if systems else None) or []
    shape = tuple(range(3, 3 + len(axes))) or (3, 4)
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="w", attributes=attributes)
    for dataset in multiscale.get("datasets") or ():
        name = dataset.get("path") if isinstance(dataset, dict) else None
        if isinstance(name, str) and name.strip("/"):
            names = [axis.get("name") if isinstance(axis, dict) else None for axis in axes]
            group.create_array(
                name.strip("/"),
                data=np.arange(np.prod(shape), dtype="u2").reshape(shape),
                # From 0.6 on arrays have axes of their own, which the image need not repeat.
                dimension_names=names if multiscale.get("axes") and names else None,
            )
    result, voxels = opened(tmp_path / "a.ome.zarr")
    count(path, "document", result)
    if voxels is not None:
        assert sorted(voxels.ravel()) == list(range(int(np.prod(shape))))
