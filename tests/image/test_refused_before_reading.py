"""What would exceed the budget is refused before a voxel is read, by every operation."""

from __future__ import annotations

import dask
import matplotlib as mpl
import numpy as np
import pytest

import voxarray as vx
from scans import write
from voxarray.statistics.cache import forget
from voxarray.testing.counting import count_reads

mpl.use("agg")

OPERATIONS = {
    "load": lambda image: image.load(),
    "compute": lambda image: image.compute(),
    "plot": lambda image: image.plot(show=False),
    "hist": lambda image: image.hist(show=False),
    "statistics": lambda image: image.statistics(),
    "masked": lambda image: image.statistics(image),
    "by label": lambda image: image.statistics_by_label(image),
    "count_labels": lambda image: vx.LabelMap(image.path).count_labels(),
    "mask": lambda image: vx.CropOrPad(4, mask_name="m")(vx.Subject(t=image, m=image)),
    "RescaleIntensity": lambda image: vx.RescaleIntensity()(image),
    "ZNormalization": lambda image: vx.ZNormalization()(image),
    "to_gif": lambda image: image.to_gif(2, 1, "a.gif"),
    "as_pil": lambda image: image[..., 0].as_pil(),
    "convert": lambda image: image.save("b.ome.zarr"),
}


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    shape = (1, 300, 200, 3)
    voxels = (np.arange(np.prod(shape)) % 50).reshape(shape).astype("float32")
    return write(tmp_path_factory.mktemp("scan") / "a.nii", voxels)


@pytest.mark.parametrize("name", OPERATIONS)
def test_too_much_is_refused_unread(name, scan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = vx.ScalarImage(scan)
    forget()
    with (
        dask.config.set({"voxarray.memory-budget": "200 KiB"}),
        count_reads() as reads,
        pytest.raises(vx.MemoryBudgetError) as caught,
    ):
        OPERATIONS[name](image)
    assert caught.value.code == "OVER_BUDGET"
    assert reads.voxels == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_run_within_a_larger_budget(name, scan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with dask.config.set({"voxarray.memory-budget": "256 MiB"}):
        OPERATIONS[name](vx.ScalarImage(scan))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".nrrd"])
@pytest.mark.filterwarnings("ignore::voxarray.VoxarrayWarning")
def test_a_corner_of_what_is_decoded_as_a_whole_costs_the_whole(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    if suffix == ".nrrd":
        fields = "type: uint8\ndimension: 3\nsizes: 512 512 1\nencoding: ascii"
        path.write_text(f"NRRD0004\n{fields}\n\n" + "7 " * 512 * 512)
    else:
        vx.ScalarImage(tensor=np.full((1, 512, 512, 1), 7, "u1")).save(path)
    image = vx.ScalarImage(path)
    with (
        dask.config.set({"voxarray.memory-budget": "256 KiB"}),
        count_reads() as reads,
        pytest.raises(vx.MemoryBudgetError, match="OVER_BUDGET"),
    ):
        image[:4, :4].data  # noqa: B018
    assert reads.voxels == 0
    assert image[:4, :4].data.shape == (1, 4, 4, 1)


def test_a_gif_has_sides_of_two_bytes(tmp_path):
    image = vx.ScalarImage(tensor=np.zeros((1, 70_000, 1, 2), "uint8"))
    with pytest.raises(vx.UnsupportedError, match="a side that a GIF holds") as caught:
        image.to_gif(2, 1, tmp_path / "a.gif")
    assert caught.value.code == "UNSUPPORTED_DIMS"
    assert not list(tmp_path.iterdir())
