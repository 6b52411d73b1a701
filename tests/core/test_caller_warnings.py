"""Warnings are shown at the line that calls voxarray, not at one inside it."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import voxarray as vx

PACKAGE = Path(vx.__file__).parent


def bright(patches):
    return torch.cat([300 - patches, patches - 300], dim=1)


@pytest.fixture
def named(tmp_path):
    """A label map with names, in the archive of a scan."""
    scan = vx.testing.sample((8, 8, 8))
    scan.save(tmp_path / "t1.ome.zarr")
    labels = vx.LabelMap(tensor=np.ones((1, 8, 8, 8), np.uint8), affine=scan.affine)
    return vx.Archive(tmp_path / "t1.ome.zarr").add_labels("seg", labels, names={1: "liver"})


def caught(call):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        call()
    return seen


def test_lost_names_are_said_at_the_line_of_the_caller(named, tmp_path):
    archive = tmp_path / "t1.ome.zarr"
    calls = [
        lambda: named.save(tmp_path / "a.nii"),
        lambda: vx.convert(named, tmp_path / "b.nii", label=True),
        lambda: vx.convert(vx.Archive(archive).labels["seg"], tmp_path / "c.nii"),
    ]
    for call in calls:
        (one,) = caught(call)
        assert "LABEL_NAMES_LOST" in str(one.message)
        assert one.filename == __file__


@pytest.mark.parametrize("classes", [["nothing", "liver"], {0: "nothing", 7: "liver"}])
def test_names_of_predictions_are_said_to_be_lost(tmp_path, classes):
    scan = vx.testing.sample((8, 8, 8))

    def predict(name, **options):
        return caught(
            lambda: vx.infer(
                bright, scan, tmp_path / name, patch_size=8, classes=classes, **options
            )
        )

    (one,) = predict("a.nii.gz")
    assert "LABEL_NAMES_LOST" in str(one.message)
    assert one.filename == __file__
    assert not predict("a.ome.zarr")
    # Probabilities are no label map, which would have names.
    assert not predict("b.nii.gz", output="probabilities", activation="softmax")


def test_names_of_what_a_network_is_shown_are_not_those_of_its_labels(named, tmp_path):
    assert not caught(lambda: vx.infer(bright, named, tmp_path / "a.nii.gz", patch_size=8))


def test_other_warnings_are_shown_there_too(named, tmp_path):
    scan = vx.ScalarImage(tmp_path / "t1.ome.zarr")
    scan.save(tmp_path / "a.nii")
    calls = {
        "NOT_INCLUDED": lambda: vx.Flip(0, include=["t2"])(scan),
        "is replaced": lambda: scan.save(tmp_path / "a.nii"),
        "LABELS_LEFT": lambda: vx.convert(tmp_path / "t1.ome.zarr", tmp_path / "b.ome.zarr"),
        "no mask": lambda: vx.CropOrPad(4, mask_name="brain")(scan),
        "deprecated": lambda: vx.Image(tmp_path / "a.nii"),
    }
    for text, call in calls.items():
        found = [one for one in caught(call) if text in str(one.message)]
        assert [one.filename for one in found] == [__file__], text


def test_no_warning_counts_frames():
    """A number of frames is wrong as soon as a function is wrapped or moved."""
    counting = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(r"stacklevel=\d", path.read_text())
    ]
    assert not counting
