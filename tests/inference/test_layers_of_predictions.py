"""Predictions become label layers of the scan's own archive."""

from __future__ import annotations

import numpy as np
import pytest

import voxarray as vx
from inference.reference import blended, clear_of, network


@pytest.fixture
def archive(tmp_path):
    voxels = np.random.default_rng(0).random((1, 18, 17, 16), np.float32)
    image = vx.ScalarImage(tensor=voxels, affine=np.diag([0.75, 1, 2, 1]))
    vx.convert(image, tmp_path / "scan.ome.zarr")
    return tmp_path / "scan.ome.zarr"


def test_labels_become_a_layer_with_names_and_colours(archive):
    scan, model = vx.ScalarImage(archive), network(3)
    classes = {0: "background", 5: ("liver", (255, 0, 0)), 7: "spleen"}
    made = vx.infer(model, scan, patch_size=8, classes=classes, layer="organs")
    assert list(vx.Archive(archive).labels) == ["organs"]
    reference = blended(model, scan.numpy(), (8, 8, 8), (4, 4, 4), "hann")
    clear = clear_of(reference)
    expected = np.array([0, 5, 7])[reference.argmax(0)]
    table = {label.value: label for label in made.source.base.labels}
    assert (table[5].name, table[5].colour, table[7].name) == ("liver", (255, 0, 0, 255), "spleen")
    np.testing.assert_array_equal(made.numpy()[0][clear], expected[clear])
    assert vx.verify(archive) == []
    assert any(step["operation"] == "infer" for step in made.history)


def test_preprocessing_and_a_path(archive):
    made = vx.infer(network(2), archive, patch_size=8, preprocess=vx.Resample(1.5))
    assert made.grid == vx.ScalarImage(archive).grid
    assert list(vx.Archive(archive).labels) == ["prediction"]


def test_what_cannot_be_a_layer_is_named(archive, tmp_path):
    vx.infer(network(2), archive, patch_size=8)
    with pytest.raises(vx.ArchiveExistsError) as caught:
        vx.infer(network(2), archive, patch_size=8)
    assert caught.value.code == "NAME_TAKEN"
    vx.ScalarImage(archive).save(tmp_path / "a.nii")
    for given, more, code in (
        (archive, {"overwrite": True}, "UNUSED_KEYWORD"),
        (archive, {"output": "probabilities"}, "NO_DESTINATION"),
        (tmp_path / "a.nii", {}, "NO_DESTINATION"),
        (vx.ScalarImage(archive)[:9], {"layer": "half"}, "GRID_MISMATCH"),
    ):
        with pytest.raises(vx.VoxarrayError) as caught:
            vx.infer(network(2), given, patch_size=8, **more)
        assert caught.value.code == code


def test_a_model_that_fails_leaves_no_layer(archive):
    with pytest.raises(vx.ModelError):
        vx.infer(lambda b: b * float("nan"), archive, patch_size=8, classes=2)
    assert list(vx.Archive(archive).labels) == []
    assert vx.verify(archive) == []
