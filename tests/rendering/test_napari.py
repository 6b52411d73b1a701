"""The napari plug-in: lazy, multiscale, placed, labels with their names and colours."""

from __future__ import annotations

import tomllib
from pathlib import Path

import dask
import numpy as np
import pytest

import voxarray as vx
from voxarray.rendering.napari_reader import get_reader, read_layers
from voxarray.testing.counting import count_reads

VOXELS = np.random.default_rng(0).integers(0, 999, (1, 130, 70, 40)).astype(np.int16)
AFFINE = np.array([[0, 0, 1.5, 9], [-1, 0, 0, 8], [0, -2, 0, 7], [0, 0, 0, 1]], float)


@pytest.fixture
def archive(tmp_path):
    labels = vx.LabelMap(tensor=(VOXELS > 900).astype(np.uint8), affine=AFFINE)
    image = vx.ScalarImage(tensor=VOXELS, affine=AFFINE)
    vx.convert(image, tmp_path / "scan.ome.zarr", labels={"hot": labels})
    return str(tmp_path / "scan.ome.zarr")


def test_levels_are_lazy(archive):
    with count_reads() as reads:
        (levels, meta, kind), (label_levels, label_meta, label_kind) = read_layers(archive)
    assert reads.voxels < VOXELS.size / 10
    assert (kind, label_kind) == ("image", "labels")
    assert (meta["name"], label_meta["name"]) == ("scan", "hot")
    image = vx.ScalarImage(archive)
    for number, level in enumerate(levels):
        np.testing.assert_array_equal(level.compute(), image.level(number).numpy()[0].T)
    np.testing.assert_array_equal(label_levels[0].compute(), (VOXELS[0] > 900).T)
    low, high = meta["contrast_limits"]
    assert 0 <= low < high <= 999


def test_labels_have_names_and_colours(tmp_path):
    from voxarray.archive.convert import convert
    from voxarray.archive.metadata import Label

    labels = vx.LabelMap(tensor=np.ones((1, 8, 8, 8), np.uint8))
    table = (Label(1, "liver", (255, 0, 0, 255)), Label(3, "spleen"))
    convert(labels.source, tmp_path / "a.ome.zarr", kind="label", table=table)
    ((_, meta, kind),) = get_reader(str(tmp_path))([str(tmp_path / "a.ome.zarr")])
    assert kind == "labels"
    assert meta["features"] == {"index": [0, 1, 3], "name": ["background", "liver", "spleen"]}
    assert meta["colormap"][1] == (1.0, 0.0, 0.0, 1.0)
    assert meta["colormap"][3][3] == 1.0
    assert meta["colormap"][None] == (0, 0, 0, 0)


def test_a_named_background_is_transparent(tmp_path):
    vx.ScalarImage(tensor=VOXELS, affine=AFFINE).save(tmp_path / "scan.ome.zarr")
    hot = vx.LabelMap(tensor=(VOXELS > 900).astype("u1"), affine=AFFINE)
    vx.Archive(tmp_path / "scan.ome.zarr").add_labels(
        "hot", hot, names={0: "outside", 1: "hot"}, colours={0: (9, 9, 9), 1: (255, 0, 0)}
    )
    _, (_, meta, _) = read_layers(str(tmp_path / "scan.ome.zarr"))
    assert meta["features"] == {"index": [0, 1], "name": ["outside", "hot"]}
    assert meta["colormap"] == {None: (0, 0, 0, 0), 0: (0, 0, 0, 0), 1: (1.0, 0.0, 0.0, 1.0)}


def test_channels_come_first(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 9, (3, 6, 5, 4)).astype(np.int16)
    vx.ScalarImage(tensor=voxels, affine=AFFINE).save(tmp_path / "a.nii")
    ((voxels_read, meta, _),) = read_layers(str(tmp_path / "a.nii"))
    assert voxels_read.shape == (3, 4, 5, 6)
    assert not meta["multiscale"]
    assert meta["affine"].shape == (5, 5)
    assert meta["axis_labels"] == ("C", "I", "P", "L")
    np.testing.assert_allclose(meta["affine"][1:4, 4][::-1], -AFFINE[:3, 3])


def test_a_stream_that_is_too_large_says_what_to_do(tmp_path):
    vx.ScalarImage(tensor=VOXELS).save(tmp_path / "a.nii.gz")
    with (
        dask.config.set({"voxarray.gzip-whole-limit": 1000}),
        pytest.raises(vx.MemoryBudgetError, match=r"vx\.convert"),
    ):
        read_layers(str(tmp_path / "a.nii.gz"))


def test_the_manifest_is_announced_and_names_what_there_is():
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"]["napari.manifest"] == {"voxarray": "voxarray:napari.yaml"}
    manifest = (Path(vx.__file__).parent / "napari.yaml").read_text("utf-8")
    assert f"python_name: {get_reader.__module__}:{get_reader.__name__}" in manifest


def test_a_window_shows_what_the_patient_has_on_which_side(tmp_path, monkeypatch):
    """Where napari is installed: it draws the axial plane, offscreen, and right is on the left."""
    pytest.importorskip("napari")
    pytest.importorskip("qtpy")
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    from napari.components import ViewerModel
    from napari.layers import Layer

    voxels = np.zeros((1, 40, 50, 30), np.int16)
    voxels[0, 30:, 35:, 20:] = 100  # right, anterior, superior
    image = vx.ScalarImage(tensor=voxels)
    labels = vx.LabelMap(tensor=(voxels > 0).astype(np.uint8))
    vx.convert(image, tmp_path / "scan.ome.zarr", labels={"hot": labels})
    model = ViewerModel()
    for data in read_layers(str(tmp_path / "scan.ome.zarr")):
        model.add_layer(Layer.create(*data))
    model.dims.set_point(0, -25.0)  # I, mm
    scan, hot = model.layers
    corner = scan.world_to_data((-25.0, -40.0, -35.0))  # I, P, L: anterior right
    assert voxels[0][tuple(np.round(corner).astype(int)[::-1])] == 100
    assert model.dims.displayed == (1, 2)
    assert hot.get_value((-25.0, -40.0, -35.0), world=True) is not None
