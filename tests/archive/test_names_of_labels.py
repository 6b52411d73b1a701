"""Names of labels stay with their labels, whichever way a label map goes."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import voxarray as vx

NAMES = {1: "liver", 2: "spleen", 3: "kidney"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "a.ome.zarr"
    voxels = np.arange(120).reshape(1, 6, 5, 4)
    vx.ScalarImage(tensor=voxels.astype("i2")).save(path)
    vx.Archive(path).add_labels(
        "organs", vx.LabelMap(tensor=(voxels % 4).astype("u1")), names=NAMES
    )
    return path


@pytest.fixture
def organs(archive):
    return vx.Archive(archive).labels["organs"]


def names(image):
    return {label.value: label.name for label in image.source.label_table}


def loaded(image):
    image.load()
    return image


@pytest.mark.parametrize(
    "route",
    [
        loaded,
        lambda image: image.compute(),
        lambda image: loaded(image[:, 1:]),
        lambda image: loaded(image)[:, ::-1],
        lambda image: copy.deepcopy(loaded(image)),
        lambda image: pickle.loads(pickle.dumps(image.compute())),  # its own
        lambda image: vx.Flip(0)(loaded(image)),
        lambda image: loaded(vx.CropOrPad(3)(image)),
    ],
    ids=["loaded", "computed", "slice", "reversed", "copied", "pickled", "flipped", "cropped"],
)
def test_in_memory_as_in_the_file(organs, tmp_path, route):
    image = route(organs)
    assert names(image) == NAMES
    image.save(tmp_path / "b.ome.zarr")
    assert names(vx.LabelMap(tmp_path / "b.ome.zarr")) == NAMES


@pytest.mark.parametrize("load", [False, True])
@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (vx.RemapLabels({1: 2, 2: 1}), {1: "spleen", 2: "liver", 3: "kidney"}),
        (vx.RemapLabels({3: 40}), {1: "liver", 2: "spleen", 40: "kidney"}),
        (vx.RemapLabels({1: 2}), {2: "spleen", 3: "kidney"}),  # joins what has a name
        (vx.RemapLabels({1: 7, 2: 7}), {3: "kidney"}),  # nothing says which
        (vx.RemoveLabels([1]), {2: "spleen", 3: "kidney"}),
        (vx.Compose([vx.RemoveLabels([2]), vx.SequentialLabels()]), {1: "liver", 2: "kidney"}),
        (vx.RemapLabels({1: 2, 2: 1}, masking_method="Left"), {3: "kidney"}),  # both, by place
        (vx.OneHot(), {}),
        (vx.KeepLargestComponent(), {}),
    ],
    ids=[
        "swapped",
        "moved",
        "joined",
        "merged",
        "removed",
        "numbered",
        "masked",
        "channels",
        "object",
    ],
)
def test_names_go_with_their_labels(organs, transform, expected, load):
    assert names(transform(loaded(organs) if load else organs)) == expected
